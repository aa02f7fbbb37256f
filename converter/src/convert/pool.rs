//! What the images of a batch share, made once: each layer is fetched and each tree is merged by the first image
//! that needs it, while the others wait for it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use layer_layout::RepositoryPath;
use tokio::sync::OnceCell;

use crate::Result;

/// Trees that are prepared, or being prepared, by their paths.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<RepositoryPath, Arc<OnceCell<()>>>>);

impl Pool {
    /// Makes the tree at `path` with `make`, unless another image does so or has done so. If the other one fails, this
    /// one tries: it may have the same layer from a registry that answers. Returns whether `make` was run to its end.
    pub(super) async fn once<F>(
        &self,
        path: &RepositoryPath,
        make: impl FnOnce() -> F,
    ) -> Result<bool>
    where
        F: Future<Output = Result<()>>,
    {
        let cell = Arc::clone(
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default(),
        );
        let mut made = false;
        cell.get_or_try_init(async || {
            made = true;
            make().await
        })
        .await?;
        Ok(made)
    }

    /// Forgets the trees that were made and are no longer there.
    pub(super) fn forget_unless(&self, is_there: impl Fn(&RepositoryPath) -> bool) {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trees.retain(|path, made| !made.initialized() || is_there(path));
    }

    /// Forgets a tree that is no longer prepared.
    pub(super) fn forget(&self, path: &RepositoryPath) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::Error;

    fn path(name: &str) -> RepositoryPath {
        RepositoryPath::of_name(None, name).unwrap()
    }

    #[tokio::test]
    async fn the_first_makes_it_and_the_others_wait() {
        let pool = Pool::default();
        let runs = AtomicU32::new(0);
        let path = path("layer");
        let make = || async {
            runs.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(())
        };
        let (a, b, c) =
            tokio::join!(pool.once(&path, make), pool.once(&path, make), pool.once(&path, make));
        let made = [a, b, c].into_iter().filter(|made| *made.as_ref().unwrap()).count();
        assert_eq!((made, runs.load(Ordering::SeqCst)), (1, 1));
        pool.forget(&path);
        assert!(pool.once(&path, make).await.unwrap());
        pool.forget_unless(|_| true);
        assert!(!pool.once(&path, make).await.unwrap());
        pool.forget_unless(|_| false);
        assert!(pool.once(&path, make).await.unwrap());
    }

    #[tokio::test]
    async fn who_waited_for_a_failure_tries_itself() {
        let pool = Pool::default();
        let path = path("layer");
        let failing = pool.once(&path, || async {
            tokio::task::yield_now().await;
            Err(Error::Cancelled)
        });
        let (failed, made) = tokio::join!(failing, pool.once(&path, || async { Ok(()) }));
        assert!(failed.is_err());
        assert!(made.unwrap());
    }
}
