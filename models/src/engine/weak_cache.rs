//! What several users of a process share, made once and gone with its last user.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use once_cell::sync::OnceCell;

type Slot<V> = Arc<OnceCell<Weak<V>>>;

/// Values by key, none of which it keeps alive itself.
#[derive(Debug)]
pub(super) struct WeakCache<K, V: ?Sized> {
    slots: Mutex<HashMap<K, Slot<V>>>,
}

impl<K, V: ?Sized> Default for WeakCache<K, V> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash, V: ?Sized> WeakCache<K, V> {
    /// The value of `key` that somebody uses, else the one that `make` makes. Others that want the same meanwhile wait
    /// for it instead of making their own.
    ///
    /// # Errors
    /// Those of `make`; the next to ask tries again.
    pub fn get<E>(&self, key: &K, make: impl Fn() -> Result<Arc<V>, E>) -> Result<Arc<V>, E> {
        loop {
            let slot = Arc::clone(self.lock().entry(key.clone()).or_default());
            let mut made = None;
            let shared = slot.get_or_try_init(|| {
                let value = make()?;
                let weak = Arc::downgrade(&value);
                made = Some(value);
                Ok(weak)
            })?;
            if let Some(value) = made.or_else(|| shared.upgrade()) {
                return Ok(value);
            }
            // Its last user has gone since: make room, unless another thread already did.
            let mut slots = self.lock();
            if slots.get(key).is_some_and(|current| Arc::ptr_eq(current, &slot)) {
                slots.remove(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Slot<V>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU32, sync::atomic::Ordering, thread, time::Duration};

    use super::*;

    #[test]
    fn a_value_is_made_once_while_it_is_used_and_again_afterwards() {
        let (cache, made) = (WeakCache::<u8, u32>::default(), AtomicU32::new(0));
        let make = || Ok::<_, ()>(Arc::new(made.fetch_add(1, Ordering::Relaxed)));
        let first = cache.get(&1, make).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get(&1, make).unwrap()));
        assert_eq!(*cache.get(&2, make).unwrap(), 1);
        drop(first);
        assert_eq!(*cache.get(&1, make).unwrap(), 2);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = WeakCache::<u8, u32>::default();
        assert_eq!(cache.get(&1, || Err("no")), Err("no"));
        assert_eq!(*cache.get(&1, || Ok::<_, &str>(Arc::new(7))).unwrap(), 7);
    }

    #[test]
    fn threads_that_ask_at_once_share_one_value() {
        let (cache, made) = (WeakCache::<u8, u32>::default(), AtomicU32::new(0));
        let make = || {
            thread::sleep(Duration::from_millis(50));
            Ok::<_, ()>(Arc::new(made.fetch_add(1, Ordering::Relaxed)))
        };
        let values: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.get(&1, make).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(values.iter().all(|v| Arc::ptr_eq(v, &values[0])));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
