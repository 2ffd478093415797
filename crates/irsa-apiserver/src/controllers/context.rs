//! What all controllers share: the API, an identity, and a recorder of events.

use std::sync::Arc;

use super::recorder::Recorder;
use crate::api::{Api, Caller};
use crate::store::Store;

/// The API and the service account that a controller uses it as.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) api: Arc<Api>,
    pub(super) me: Caller,
    pub(super) recorder: Recorder,
}

impl Context {
    pub(super) fn new(api: &Arc<Api>, name: &'static str) -> Self {
        Self {
            api: Arc::clone(api),
            me: Caller::controller(name),
            recorder: Recorder::new(Arc::clone(api), name),
        }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        self.api.store()
    }
}
