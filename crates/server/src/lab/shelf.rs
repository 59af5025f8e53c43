//! The library of now: it is put up anew as a whole, and who began with the one before keeps that.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bootgate_api::artifact::ImageInfo;

use super::library::Library;

/// Where the library of now stands.
#[derive(Debug)]
pub(super) struct Shelf(RwLock<Arc<Library>>);

impl Shelf {
    pub(super) fn new(library: Library) -> Self {
        Self(RwLock::new(Arc::new(library)))
    }

    /// The library of now. To be asked for once for each thing that is decided by it.
    pub(super) fn now(&self) -> Arc<Library> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is this one, with the images of the store that are there.
    pub(super) fn put(&self, library: Library) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let library = library.with_stored_of(&now);
        *now = Arc::new(library);
    }

    /// From now on these are the images of the store.
    pub(super) fn put_stored(&self, images: &BTreeMap<String, ImageInfo>) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let library = now.with_stored(images);
        *now = Arc::new(library);
    }
}
