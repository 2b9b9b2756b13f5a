//! The measured window as it is collected: a total, and a series that stays small however long it
//! becomes.

use std::time::{Duration, Instant};

use crate::outcome::Point;
use crate::tally::Tally;

/// Points of the series at most; beyond that two become one, so that a long run stays small.
const POINTS_MAX: usize = 300;

/// What was collected.
#[derive(Debug, Default)]
pub struct Collected {
    /// All of it.
    pub total: Tally,
    /// Point by point.
    pub series: Vec<Point>,
    /// How long it took.
    pub length: Duration,
}

/// The second that is being collected.
#[derive(Debug)]
pub struct Second {
    /// When it began.
    pub begun: Instant,
    /// How long it is to be.
    pub length: Duration,
    /// What was counted so far.
    pub tally: Tally,
}

impl Second {
    /// One that begins at `begun`.
    pub fn new(begun: Instant) -> Self {
        Self { begun, length: Duration::from_secs(1), tally: Tally::default() }
    }

    /// Moves what it has to what was collected.
    pub fn close(&mut self, collected: &mut Collected, begun: Instant, now: Instant) {
        let length = now - self.begun;
        let tally = std::mem::take(&mut self.tally);
        collected.total.add(&tally);
        collected.length = now - begun;
        if length < self.length / 2
            && let Some(last) = collected.series.last_mut()
        {
            // A short rest is no point of its own: its rate would mean nothing.
            last.tally.add(&tally);
            last.length += length;
            last.end = now - begun;
        } else {
            collected.series.push(Point { end: now - begun, length, tally });
        }
        self.begun = now;
        if collected.series.len() > POINTS_MAX {
            collected.halve();
            self.length *= 2;
        }
    }
}

impl Collected {
    /// Makes one point of two.
    fn halve(&mut self) {
        let points = std::mem::take(&mut self.series);
        for (index, point) in points.into_iter().enumerate() {
            match self.series.last_mut() {
                Some(last) if index % 2 == 1 => {
                    last.tally.add(&point.tally);
                    last.length += point.length;
                    last.end = point.end;
                }
                _ => self.series.push(point),
            }
        }
    }

    /// Appends what was collected later.
    pub fn append(&mut self, part: Self) {
        self.total.add(&part.total);
        let before = self.length;
        self.series.extend(
            part.series.into_iter().map(|point| Point { end: before + point.end, ..point }),
        );
        self.length += part.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_few_points_and_loses_nothing() {
        let begun = Instant::now();
        let (mut second, mut collected) = (Second::new(begun), Collected::default());
        let mut now = begun;
        for _ in 0..5000 {
            second.tally.operations += 1;
            now += Duration::from_secs(1);
            if now - second.begun >= second.length {
                second.close(&mut collected, begun, now);
            }
        }
        second.close(&mut collected, begun, now);
        assert!(collected.series.len() <= POINTS_MAX);
        assert_eq!(collected.total.operations, 5000);
        let points = collected.series.iter().map(|point| point.tally.operations).sum::<u64>();
        assert_eq!(points, 5000);
        let length: Duration = collected.series.iter().map(|point| point.length).sum();
        assert_eq!((length, collected.length), (now - begun, now - begun));
    }
}
