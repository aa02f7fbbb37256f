//! The mirrors of a repository and the repository itself, in the order in which they are asked.

use std::sync::Arc;

use layer_layout::RegistryReference;

use super::client::{PULL, RegistryClient};
use super::endpoint;
use crate::source::error::{Error, Result};
use crate::source::options::Options;

/// Where an image may be found. The last place is the one that decides what there is.
#[derive(Debug, Clone)]
pub(super) struct Endpoints(Vec<Arc<RegistryClient>>);

impl Endpoints {
    pub(super) fn open(reference: &RegistryReference, options: &Options) -> Result<Self> {
        let image = reference.to_string();
        let endpoints = endpoint::for_pull(reference, options)?;
        let clients = endpoints
            .iter()
            .map(|endpoint| RegistryClient::open(&image, endpoint, PULL, options).map(Arc::new));
        clients.collect::<Result<_>>().map(Self)
    }

    /// The first place to ask: mirrors that failed a short time ago are left out.
    pub(super) fn first(&self) -> usize {
        self.usable(0)
    }

    pub(super) fn client(&self, at: usize) -> &Arc<RegistryClient> {
        &self.0[at]
    }

    /// The place to ask after one that failed.
    ///
    /// # Errors
    /// `error`, if there is none.
    pub(super) fn after(&self, at: usize, error: Error) -> Result<usize> {
        if at + 1 == self.0.len() {
            return Err(error);
        }
        let host = self.0[at].host();
        tracing::warn!(
            mirror = host.name,
            %error,
            cause = std::error::Error::source(&error).map(tracing::field::display),
            "the mirror does not have it, trying the next place"
        );
        if let Error::Fetch { cause, .. } = &error
            && cause.is_of_the_host()
        {
            host.availability.avoid();
        }
        Ok(self.usable(at + 1))
    }

    fn usable(&self, from: usize) -> usize {
        let last = self.0.len() - 1;
        (from..last).find(|&at| !self.0[at].host().availability.is_avoided()).unwrap_or(last)
    }
}
