//! Runs of pixels within a row.

use std::ops::Range;

/// The pixels of `x` where each of `functions`, given as (slope, start) with the value `slope * x + start`,
/// is at least `least`. As the functions are straight, those pixels are neighbours.
pub(crate) fn run_where<const N: usize>(
    functions: [(f64, f64); N],
    least: f64,
    x: Range<usize>,
) -> Range<usize> {
    let (mut from, mut to) = (x.start as f64, x.end as f64 - 1.0);
    for (slope, start) in functions {
        let crossing = (least - start) / slope;
        if slope > 0.0 {
            from = from.max(crossing.ceil());
        } else if slope < 0.0 {
            to = to.min(crossing.floor());
        } else if start < least {
            return x.start..x.start;
        }
    }
    if from <= to {
        from as usize..to as usize + 1
    } else {
        x.start..x.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_one_function_falls_short() {
        assert_eq!(run_where([(1.0, -3.5), (-0.5, 4.0)], 0.0, 0..20), 4..9);
        assert_eq!(run_where([(1.0, -3.5), (-0.5, 4.0)], 1.0, 6..20), 6..7);
        assert_eq!(run_where([(0.0, 1.0)], 1.0, 2..5), 2..5);
    }

    #[test]
    fn a_run_may_be_empty() {
        assert!(run_where([(0.0, 0.9)], 1.0, 2..5).is_empty());
        assert!(run_where([(1.0, -9.0)], 0.0, 2..5).is_empty());
        assert!(run_where([(-1.0, 1.0)], 0.0, 2..5).is_empty());
        assert!(run_where([(1.0, 0.0)], 0.0, 0..0).is_empty());
    }
}
