//! Rows shared among threads.

use std::sync::{Mutex, PoisonError};

/// Has every one of `items`, numbered from 0, worked on once: by this thread and by those of the current rayon pool,
/// each of which makes itself a scratch by `prepare` and then takes the next `batch` items until none is left.
///
/// Rayon's parallel iterators put a caller from outside the pool to sleep while the pool works. One such call a frame
/// does no harm, but a frame takes several, each of less than a millisecond, and every time this thread would have to
/// be woken again. Here it works itself, from the first moment, and the others join in when they have woken up.
pub(crate) fn share<I, S>(
    items: I,
    batch: usize,
    prepare: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, usize, I::Item) + Sync,
) where
    I: ExactSizeIterator + Send,
    I::Item: Send,
{
    let batches = items.len().div_ceil(batch);
    let queue = Mutex::new(items.enumerate());
    let take = |taken: &mut Vec<_>| {
        // A panic in an iterator over slices cannot be, and one in `each` leaves the queue alone.
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(queue.by_ref().take(batch));
    };
    let work = || {
        let mut taken = Vec::with_capacity(batch);
        take(&mut taken);
        if taken.is_empty() {
            return;
        }
        let mut scratch = prepare();
        while !taken.is_empty() {
            for (index, item) in taken.drain(..) {
                each(&mut scratch, index, item);
            }
            take(&mut taken);
        }
    };
    let helpers = rayon::current_num_threads().min(batches).saturating_sub(1);
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work());
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubled(count: usize, batch: usize, threads: usize) -> Vec<usize> {
        let mut values = vec![usize::MAX; count];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| share(values.iter_mut(), batch, || (), |(), index, value| *value = 2 * index));
        values
    }

    #[test]
    fn each_item_is_worked_on_whatever_the_number_of_threads() {
        for (count, batch) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 7)] {
            let expected: Vec<usize> = (0..count).map(|i| 2 * i).collect();
            for threads in [1, 2, 5] {
                assert_eq!(doubled(count, batch, threads), expected, "{count} by {batch}, {threads} threads");
            }
        }
    }

    #[test]
    fn a_caller_outside_any_pool_is_served_too() {
        let mut values = [0; 100];
        share(values.iter_mut(), 3, || (), |(), index, value| *value = index);
        assert!(values.iter().enumerate().all(|(index, value)| *value == index));
    }
}
