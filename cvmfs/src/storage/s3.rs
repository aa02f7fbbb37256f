//! A repository in an S3 bucket.
//!
//! Requests run on a runtime of the storage's own, so that callers may be threads of another. Failed and slow
//! requests are repeated, with growing pauses in between; the limits are the URL's.
//!
//! The manifest is replaced with conditional requests (`If-Match`, `If-None-Match`). Some servers ignore the condition,
//! and there two publishers would silently lose each other's revisions. Others heed it in some requests and not in others.
//! So before the first such replacement the server is asked for both with an object that is there already, and with the
//! same content: to create it, and to replace a version of it that has never been. It must refuse.
//!
//! Headers are those of stock servers: content types and how long caches may keep what is mutable.

mod answer;
mod client;
mod patience;

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::{fmt, mem};

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error as Answer, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use super::file::{Expected, Listed, Version};
use super::presence::Put;
use super::url::{S3Url, StorageUrl};
use super::{hint, limits};
use crate::{Error, Result};

use answer::{UNREACHABLE, advice, is_absent};
use patience::{Patience, RETRY_WINDOW};

/// Content type and cache lifetime of objects.
const OBJECT: (&str, &str) = ("application/octet-stream", "max-age=259200");

/// Content type and cache lifetime of manifest, whitelist and reflog.
const FILE: (&str, &str) = ("application/x-cvmfs", "max-age=61");

/// How many listed objects are handed over at a time: as many as a server returns in one answer.
const LISTED: usize = 1000;

/// An entity tag that no object has.
const NEVER: &str = "\"00000000000000000000000000000000\"";

/// The largest object that is kept to try conditional requests with, in bytes.
const TRIAL: usize = 256 << 10;

pub(super) struct S3 {
    /// Taken out when this is dropped.
    runtime: Option<Runtime>,
    bucket: Arc<Bucket>,
}

/// What requests need.
struct Bucket {
    name: String,
    prefix: Key,
    store: AmazonS3,
    /// The same with an access control list on what is put.
    writer: AmazonS3,
    permits: Semaphore,
    patience: Patience,
    /// An object that was put, to try conditional requests with.
    trial: Mutex<Option<(Key, Bytes)>>,
    /// Whether the server heeds conditions.
    conditional: OnceLock<bool>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.bucket.name).finish()
    }
}

impl S3 {
    pub(super) fn open(url: &S3Url) -> Result<Self> {
        let place = StorageUrl::S3(Box::new(S3Url::new(&url.bucket, &url.prefix)));
        let name = match &url.endpoint {
            Some(endpoint) => format!("{place} at {}", endpoint.as_str().trim_end_matches('/')),
            None => place.to_string(),
        };
        let unusable = |reason| Error::InvalidStorage { storage: name.clone(), reason };
        url.check().map_err(unusable)?;
        let prefix = Key::parse(&url.prefix).map_err(|error| unusable(error.to_string()))?;
        let patience = Patience { base: url.timeout };
        let [store, writer] = client::connect(url, patience).map_err(unusable)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| unusable(format!("cannot start threads: {error}")))?;
        let bucket = Bucket {
            name,
            prefix,
            store,
            writer,
            permits: Semaphore::new(url.parallel.get()),
            patience,
            trial: Mutex::default(),
            conditional: OnceLock::new(),
        };
        Ok(Self { runtime: Some(runtime), bucket: Arc::new(bucket) })
    }

    pub(super) fn name(&self) -> &str {
        &self.bucket.name
    }

    /// Starts a task on the storage's runtime.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Runs a task on the storage's runtime and waits for its result. Unlike `block_on` it may be called from the
    /// threads of another runtime.
    fn wait<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        task: impl FnOnce(Arc<Bucket>) -> F,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let task = task(Arc::clone(&self.bucket));
        self.spawn(async move {
            // Nobody listens if the caller's thread has panicked.
            let _ = sender.send(task.await);
        });
        receiver
            .recv()
            .unwrap_or_else(|_| Err(Error::Stopped(format!("{} was closed", self.bucket.name))))
    }

    pub(super) fn size(&self, path: String) -> Result<Option<u64>> {
        self.wait(|bucket| async move { bucket.size(&path).await })
    }

    /// Puts an object unless one of the same size is there, with the same bytes if `all` of them are compared.
    pub(super) fn put_if_absent(&self, path: String, stored: Bytes, all: bool) -> Result<Put> {
        self.wait(|bucket| async move { bucket.put_if_absent(&path, stored, all).await })
    }

    /// The same without waiting for it: calls `done` with the result.
    pub(super) fn put_if_absent_then(
        &self,
        path: String,
        stored: Bytes,
        all: bool,
        done: impl FnOnce(Result<Put>) + Send + 'static,
    ) {
        let bucket = Arc::clone(&self.bucket);
        self.spawn(async move { done(bucket.put_if_absent(&path, stored, all).await) });
    }

    pub(super) fn stored_size_then(
        &self,
        path: String,
        done: impl FnOnce(Result<Option<u64>>) + Send + 'static,
    ) {
        let bucket = Arc::clone(&self.bucket);
        self.spawn(async move { done(bucket.size(&path).await) });
    }

    /// Reads a file of at most `limit` bytes.
    pub(super) fn read(&self, path: String, limit: u64) -> Result<Option<(Bytes, Version)>> {
        self.wait(|bucket| async move { bucket.read(&path, limit).await })
    }

    /// The same without waiting for it and without the version.
    pub(super) fn read_then(
        &self,
        path: String,
        limit: u64,
        done: impl FnOnce(Result<Option<Bytes>>) + Send + 'static,
    ) {
        let bucket = Arc::clone(&self.bucket);
        self.spawn(async move {
            done(bucket.read(&path, limit).await.map(|found| found.map(|(stored, _)| stored)));
        });
    }

    /// Removes files, as many at a time as the bucket's limit allows. Not with the request that removes many at once:
    /// not all servers know it.
    pub(super) fn remove(&self, paths: Vec<String>) -> Result<()> {
        self.wait(|bucket| async move {
            let mut removals = JoinSet::new();
            for path in paths {
                let bucket = Arc::clone(&bucket);
                removals.spawn(async move { bucket.remove(&path).await });
            }
            removals.join_all().await.into_iter().collect()
        })
    }

    pub(super) fn list(
        &self,
        directory: &str,
        each: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let mut stream = self.bucket.store.list(Some(&self.bucket.key(directory))).fuse();
        loop {
            // The stream goes to the runtime and back, so that `each` runs on the caller's thread and nothing is
            // fetched in vain.
            let shown = directory.to_owned();
            let (batch, rest) = self.wait(|bucket| async move {
                let mut batch = Vec::new();
                while batch.len() < LISTED {
                    let Some(listed) = bucket.within("list", &shown, stream.next()).await? else {
                        break;
                    };
                    batch.push(listed.map_err(bucket.failed("list", &shown))?);
                }
                Ok((batch, stream))
            })?;
            stream = rest;
            if batch.is_empty() {
                return Ok(());
            }
            for listed in batch {
                let Some(path) = self.bucket.path(&listed.location) else { continue };
                let (size, modified) = (listed.size, listed.last_modified.into());
                each(Listed { path, size, modified })?;
            }
        }
    }

    pub(super) fn replace(
        &self,
        name: String,
        content: Bytes,
        expected: Expected,
    ) -> Result<Option<Version>> {
        self.wait(|bucket| async move { bucket.replace(&name, content, expected).await })
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // This may be a thread of a runtime, which must not wait.
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    fn key(&self, path: &str) -> Key {
        Key::from_iter(self.prefix.parts().chain(Key::from(path).parts()))
    }

    fn path(&self, key: &Key) -> Option<String> {
        let below = key.as_ref().strip_prefix(self.prefix.as_ref())?;
        Some(below.trim_start_matches('/').to_owned())
    }

    fn failed<'a>(
        &'a self,
        action: &'static str,
        object: &'a str,
    ) -> impl Fn(Answer) -> Error + 'a {
        move |answer| {
            let advice = advice(&answer);
            hint::refused(action, object, &self.name, Box::new(answer), advice)
        }
    }

    /// Gives up an operation that hangs. Single requests have limits of their own; this is for answers that begin but
    /// do not end.
    async fn within<T>(
        &self,
        action: &'static str,
        object: &str,
        operation: impl Future<Output = T>,
    ) -> Result<T> {
        let limit = RETRY_WINDOW + self.patience.limit(0);
        tokio::time::timeout(limit, operation).await.map_err(|elapsed| {
            hint::refused(action, object, &self.name, Box::new(elapsed), Some(UNREACHABLE))
        })
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // Nobody closes it.
        self.permits.acquire().await.ok()
    }

    async fn put(&self, path: &str, stored: Bytes) -> Result<()> {
        let _permit = self.permit().await;
        let key = self.key(path);
        self.write(&key, &stored, OBJECT, PutMode::Overwrite)
            .await
            .map_err(self.failed("write", path))?;
        if stored.len() <= TRIAL && self.conditional.get().is_none() {
            *self.trial.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, stored));
        }
        Ok(())
    }

    async fn put_if_absent(&self, path: &str, stored: Bytes, all: bool) -> Result<Put> {
        let size = stored.len() as u64;
        let is_there = self.size(path).await? == Some(size);
        if is_there
            && (!all || self.read(path, size).await?.is_some_and(|(found, _)| found == stored))
        {
            return Ok(Put::There);
        }
        self.put(path, stored).await?;
        Ok(if is_there { Put::Damaged } else { Put::New })
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        let _permit = self.permit().await;
        match self.store.head(&self.key(path)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(answer) if is_absent(&answer) => Ok(None),
            Err(answer) => Err(self.failed("look for", path)(answer)),
        }
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<(Bytes, Version)>> {
        let too_large =
            |cause: std::io::Error| hint::refused("read", path, &self.name, cause.into(), None);
        let _permit = self.permit().await;
        let key = self.key(path);
        let found = match self.store.get(&key).await {
            Ok(found) => found,
            Err(answer) if is_absent(&answer) => return Ok(None),
            Err(answer) => return Err(self.failed("read", path)(answer)),
        };
        limits::check(found.meta.size, limit).map_err(too_large)?;
        let version = Version::from_tag(found.meta.e_tag.clone());
        let mut content = Vec::with_capacity(usize::try_from(found.meta.size).unwrap_or_default());
        let mut stream = found.into_stream();
        while let Some(bytes) = self.within("read", path, stream.next()).await? {
            content.extend_from_slice(&bytes.map_err(self.failed("read", path))?);
            limits::check(content.len() as u64, limit).map_err(too_large)?;
        }
        Ok(Some((content.into(), version)))
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let _permit = self.permit().await;
        match self.writer.delete(&self.key(path)).await {
            Err(answer) if !is_absent(&answer) => Err(self.failed("remove", path)(answer)),
            _ => Ok(()),
        }
    }

    async fn replace(
        &self,
        name: &str,
        content: Bytes,
        expected: Expected,
    ) -> Result<Option<Version>> {
        let mode = match expected {
            Expected::Any => PutMode::Overwrite,
            Expected::Absent => PutMode::Create,
            // The server gave no entity tag, so it cannot compare any.
            Expected::Version(version) if version == Version::UNKNOWN => {
                return Err(Error::ConditionsIgnored(self.name.clone()));
            }
            Expected::Version(Version(e_tag)) => {
                PutMode::Update(UpdateVersion { e_tag: Some(e_tag), version: None })
            }
        };
        if mode != PutMode::Overwrite {
            self.try_conditions(name).await?;
        }
        let answer = match self.write(&self.key(name), &content, FILE, mode).await {
            Ok(version) => return Ok(Some(version)),
            Err(answer) => answer,
        };
        // A request whose answer got lost may have been carried out, and repeating it then finds our own file.
        if let Ok(Some((current, version))) = self.read(name, limits::of_file(name)).await
            && current == content
        {
            return Ok(Some(version));
        }
        match answer {
            Answer::AlreadyExists { .. } | Answer::Precondition { .. } => Ok(None),
            answer => Err(self.failed("replace", name)(answer)),
        }
    }

    async fn write(
        &self,
        key: &Key,
        content: &Bytes,
        (content_type, cache): (&'static str, &'static str),
        mode: PutMode,
    ) -> Result<Version, Answer> {
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, content_type),
            (Attribute::CacheControl, cache),
        ]);
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(content.clone());
        let put = self.writer.put_opts(key, payload, options).await?;
        Ok(Version::from_tag(put.e_tag))
    }

    /// Fails if the server ignores conditions.
    async fn try_conditions(&self, name: &str) -> Result<()> {
        let heeded = match self.conditional.get() {
            Some(&heeded) => heeded,
            None => {
                let trial =
                    mem::take(&mut *self.trial.lock().unwrap_or_else(PoisonError::into_inner));
                let Some((key, stored)) = trial else { return Ok(()) };
                let heeded = self.heeds_conditions(&key, &stored).await;
                let heeded = heeded.map_err(self.failed("replace", name))?;
                *self.conditional.get_or_init(|| heeded)
            }
        };
        match heeded {
            true => Ok(()),
            false => Err(Error::ConditionsIgnored(self.name.clone())),
        }
    }

    /// Whether the server refuses what must not be carried out, tried with an object that was put.
    async fn heeds_conditions(&self, key: &Key, stored: &Bytes) -> Result<bool, Answer> {
        let create = || self.is_carried_out(key, stored, PutMode::Create);
        // The object may have been removed meanwhile, so that it can be created once, but not twice.
        if create().await? && create().await? {
            return Ok(false);
        }
        let never = UpdateVersion { e_tag: Some(NEVER.to_owned()), version: None };
        Ok(!self.is_carried_out(key, stored, PutMode::Update(never)).await?)
    }

    /// Puts an object on a condition; `false` if the server finds that it does not hold.
    async fn is_carried_out(
        &self,
        key: &Key,
        stored: &Bytes,
        mode: PutMode,
    ) -> Result<bool, Answer> {
        match self.write(key, stored, OBJECT, mode).await {
            Ok(_) => Ok(true),
            Err(Answer::AlreadyExists { .. } | Answer::Precondition { .. }) => Ok(false),
            Err(answer) => Err(answer),
        }
    }
}
