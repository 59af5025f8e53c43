//! Sessions in memory, of which there is never more than a number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tower_sessions::SessionStore;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::Result;

/// Sessions at once; one more takes the place of the one that ends first.
const MOST: usize = 4096;

/// Those who are logged in. They end with the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<Id, Record>>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a session, and forgets what ended.
    fn put(&self, record: &Record) {
        let mut sessions = self.lock();
        if sessions.len() >= MOST && !sessions.contains_key(&record.id) {
            let now = OffsetDateTime::now_utc();
            sessions.retain(|_, session| session.expiry_date > now);
            let first = sessions.values().min_by_key(|session| session.expiry_date);
            let first = first.map(|session| session.id);
            if let (true, Some(first)) = (sessions.len() >= MOST, first) {
                sessions.remove(&first);
            }
        }
        sessions.insert(record.id, record.clone());
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        while self.lock().contains_key(&record.id) {
            record.id = Id::default();
        }
        self.put(record);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.put(record);
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let now = OffsetDateTime::now_utc();
        let sessions = self.lock();
        let found = sessions.get(id);
        Ok(found.filter(|found| found.expiry_date > now).cloned())
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.lock().remove(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_in(seconds: i64) -> Record {
        Record {
            id: Id::default(),
            data: HashMap::new(),
            expiry_date: OffsetDateTime::now_utc()
                + tower_sessions::cookie::time::Duration::seconds(seconds),
        }
    }

    #[tokio::test]
    async fn memory_does_not_grow_with_logins() {
        let sessions = Sessions::default();
        let (mut ended, mut first, mut last) = (ends_in(-1), ends_in(60), ends_in(3600));
        for session in [&mut ended, &mut first, &mut last] {
            sessions.create(session).await.expect("a session");
        }
        assert!(sessions.load(&ended.id).await.expect("a look").is_none());
        for _ in 0..MOST - 2 {
            sessions.create(&mut ends_in(600)).await.expect("a session");
        }
        assert_eq!(sessions.lock().len(), MOST);
        assert!(sessions.load(&first.id).await.expect("a look").is_some());
        sessions.create(&mut ends_in(600)).await.expect("a session");
        assert_eq!(sessions.lock().len(), MOST);
        assert!(sessions.load(&first.id).await.expect("a look").is_none());
        assert!(sessions.load(&last.id).await.expect("a look").is_some());
    }
}
