//! A registry that gives its tags in small pages, as hosted ones do, in front of a real one, which gives all at once.
//!
//! It only reads: images are pushed to the real one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::connections::Connections;
use crate::registry::Registry;

/// Tags of a page, whatever is asked for.
const PAGE: usize = 3;

/// A running front; it ends when dropped.
#[derive(Debug)]
pub struct PagedRegistry {
    connections: Connections,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    /// URL of the real one.
    behind: String,
    pages: AtomicUsize,
}

impl PagedRegistry {
    /// Serves what a registry over plain HTTP has.
    pub fn start(registry: &Registry) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: Client::builder().no_proxy().build()?,
            behind: registry.url(),
            pages: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let connections =
            Connections::accept(&Arc::default(), move |stream| serving.serve(stream))?;
        Ok(Self { connections, shared })
    }

    /// The reference of `name` as container runtimes write it.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.connections.port())
    }

    /// The reference of `name` as the converter takes it.
    pub fn source(&self, name: &str) -> String {
        format!("http://{}", self.reference(name))
    }

    /// How many pages of tags were given.
    pub fn pages(&self) -> usize {
        self.shared.pages.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while let Some(request) = lines.next().transpose()? {
            let mut accept = Vec::new();
            loop {
                let line = lines.next().transpose()?.unwrap_or_default();
                match line.split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("accept") => {
                        accept.push(value.to_owned());
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            let mut words = request.split(' ');
            let (method, target) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let asking = self.client.request(method.parse()?, format!("{}{path}", self.behind));
            let answer = asking.header("Accept", accept.join(", ")).send()?;
            let mut head = format!("HTTP/1.1 {}\r\n", answer.status());
            for name in ["content-type", "docker-content-digest"] {
                if let Some(value) = answer.headers().get(name) {
                    head += &format!("{name}: {}\r\n", value.to_str()?);
                }
            }
            let length = answer.headers().get("content-length").cloned();
            let mut body = answer.bytes()?.to_vec();
            let mut length = match length {
                Some(length) => length.to_str()?.parse()?,
                None => body.len(),
            };
            if path.ends_with("/tags/list") {
                let (page, next) = page(&body, query)?;
                self.pages.fetch_add(1, Ordering::Relaxed);
                body = page;
                length = body.len();
                if let Some(last) = next {
                    head += &format!("Link: <{path}?last={last}&n={PAGE}>; rel=\"next\"\r\n");
                }
            }
            stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes())?;
            stream.write_all(&body)?;
        }
        Ok(())
    }
}

/// The tags after the one that the query names, and the last of them if there are more.
fn page(all: &[u8], query: &str) -> Result<(Vec<u8>, Option<String>)> {
    let mut answer: Value = serde_json::from_slice(all)?;
    let tags = answer["tags"].as_array().context("no tags")?;
    let mut tags: Vec<String> =
        tags.iter().filter_map(|tag| Some(tag.as_str()?.to_owned())).collect();
    tags.sort();
    let last = query.split('&').find_map(|part| part.strip_prefix("last="));
    tags.retain(|tag| last.is_none_or(|last| tag.as_str() > last));
    let is_more = tags.len() > PAGE;
    tags.truncate(PAGE);
    let next = tags.last().filter(|_| is_more).cloned();
    answer["tags"] = json!(tags);
    Ok((answer.to_string().into_bytes(), next))
}
