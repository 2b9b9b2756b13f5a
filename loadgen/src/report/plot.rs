//! Lines over two axes as SVG, which takes its colours from the page.

use std::fmt::Write;

/// Points of a line that are drawn: more than there are pixels say nothing.
const POINTS_MAX: usize = 600;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;

/// What is drawn. Numbers are finite.
pub struct Plot<'a> {
    /// What the plot shows, for those who cannot see it.
    pub title: &'a str,
    /// What the x axis is.
    pub x_label: &'a str,
    /// Where the x axis is marked, and how.
    pub x_ticks: Vec<(f64, String)>,
    /// How a number on the y axis is written.
    pub y_text: fn(f64) -> String,
    /// Whether equal steps up are equal factors. Only positive numbers are drawn then.
    pub is_log: bool,
    /// One of [`highest`] and [`mean`]: what stands for points that are too close to tell apart.
    pub thin: fn(&[(f64, f64)]) -> f64,
    /// Name and points of each line, from left to right.
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// The highest of some points.
pub fn highest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).fold(0.0, f64::max)
}

/// The mean of some points.
pub fn mean(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64
}

/// Round numbers from 0 to `end`, about `count` of them.
pub fn round_steps(end: f64, count: usize) -> Vec<f64> {
    if end <= 0.0 {
        return vec![0.0];
    }
    let rough = end / count as f64;
    let decade = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| decade * factor >= rough * 0.999);
    let step = decade * factor.unwrap_or(10.0);
    (0..=2 * count).map(|nth| nth as f64 * step).take_while(|at| *at <= end * 1.0001).collect()
}

impl Plot<'_> {
    /// The element `<svg>` and, above it, which line is which. Nothing where there is no point.
    pub fn render(&self) -> String {
        let is_drawn = |point: &&(f64, f64)| !self.is_log || point.1 > 0.0;
        let lines: Vec<(&str, Vec<(f64, f64)>)> = self
            .lines
            .iter()
            .map(|(name, points)| (*name, points.iter().filter(is_drawn).copied().collect()))
            .map(|(name, points): (_, Vec<_>)| (name, self.thinned(&points)))
            .collect();
        let all = || lines.iter().flat_map(|(_, points)| points);
        if all().next().is_none() {
            return "<p>Nothing was measured.</p>\n".to_owned();
        }
        let x_end = all().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
        let y_end = all().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
        let y_begin = all().map(|point| point.1).fold(y_end, f64::min);
        let y_ticks =
            if self.is_log { log_steps(y_begin, y_end) } else { round_steps(y_end * 1.1, 5) };
        let axis = Axis {
            x_end,
            y_begin: if self.is_log { y_ticks.first().copied().unwrap_or(y_begin) } else { 0.0 },
            y_end: y_ticks.last().copied().unwrap_or(y_end).max(y_end),
            is_log: self.is_log,
        };
        let mut svg = self.legend();
        // invariant: a String takes whatever is written to it.
        self.draw(&mut svg, &axis, &y_ticks, &lines).expect("memory");
        svg
    }

    fn legend(&self) -> String {
        let mut text = "<p class=\"legend\">".to_owned();
        for (nth, (name, _)) in self.lines.iter().enumerate() {
            text.push_str(&format!("<span class=\"l{nth}\">{name}</span> "));
        }
        text + "</p>\n"
    }

    fn draw(
        &self,
        svg: &mut String,
        axis: &Axis,
        y_ticks: &[f64],
        lines: &[(&str, Vec<(f64, f64)>)],
    ) -> std::fmt::Result {
        let (title, x_label) = (self.title, self.x_label);
        writeln!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        )?;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &tick in y_ticks {
            let (y, text) = (axis.y(tick), (self.y_text)(tick));
            writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>")?;
        }
        for (tick, text) in self.x_ticks.iter().filter(|tick| tick.0 <= axis.x_end * 1.0001) {
            let (x, y) = (axis.x(*tick), bottom + 16.0);
            writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>")?;
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 8.0);
        writeln!(svg, "<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{x_label}</text>")?;
        for (nth, (_, points)) in lines.iter().enumerate() {
            let at = |point: &(f64, f64)| format!("{:.1},{:.1}", axis.x(point.0), axis.y(point.1));
            let path: Vec<String> = points.iter().map(at).collect();
            writeln!(svg, "<polyline class=\"l{nth}\" points=\"{}\"/>", path.join(" "))?;
            // A line of one point is none.
            if let [only] = points.as_slice() {
                let (x, y) = (axis.x(only.0), axis.y(only.1));
                writeln!(svg, "<circle class=\"l{nth}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")?;
            }
        }
        svg.push_str("</svg>\n");
        Ok(())
    }

    fn thinned(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let size = points.len().div_ceil(POINTS_MAX).max(1);
        let one = |part: &[(f64, f64)]| Some((part.last()?.0, (self.thin)(part)));
        points.chunks(size).filter_map(one).collect()
    }
}

struct Axis {
    x_end: f64,
    y_begin: f64,
    y_end: f64,
    is_log: bool,
}

impl Axis {
    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x_end * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_log { value.log10() } else { value };
        let span = scale(self.y_end) - scale(self.y_begin);
        let share = if span > 0.0 { (scale(value) - scale(self.y_begin)) / span } else { 0.5 };
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// 1, 2 and 5 of each power of ten around the numbers; of many, the powers only.
fn log_steps(begin: f64, end: f64) -> Vec<f64> {
    let (first, last) = (begin.log10().floor() as i32, end.log10().ceil() as i32);
    let steps = |factors: &'static [f64]| -> Vec<f64> {
        let all = (first..=last)
            .flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)));
        let all: Vec<f64> = all.collect();
        let from = all.iter().rposition(|step| *step <= begin).unwrap_or(0);
        let to = all.iter().position(|step| *step >= end).map_or(all.len(), |to| to + 1);
        all.get(from..to).unwrap_or(&all).to_vec()
    };
    let fine = steps(&[1.0, 2.0, 5.0]);
    if fine.len() <= 9 { fine } else { steps(&[1.0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>, is_log: bool) -> String {
        let ticks = vec![(0.0, "0".to_owned()), (10.0, "10".to_owned())];
        Plot {
            title: "t",
            x_label: "x",
            x_ticks: ticks,
            y_text: |y| format!("{y}"),
            is_log,
            thin: highest,
            lines: vec![("a", points)],
        }
        .render()
    }

    #[test]
    fn the_corners_are_where_they_belong() {
        let svg = plot(vec![(0.0, 0.0), (10.0, 5.0)], false);
        assert!(svg.contains("points=\"76.0,256.0 746.0,10.0\""), "{svg}");
        assert!(svg.contains(">0</text>") && svg.contains(">4</text>"), "{svg}");
    }

    #[test]
    fn nothing_that_cannot_be_drawn_is() {
        assert!(plot(Vec::new(), false).contains("Nothing was measured"));
        assert!(plot(vec![(1.0, 0.0)], true).contains("Nothing was measured"));
        for points in [vec![(0.0, 0.0)], vec![(1.0, 7.0)], vec![(1.0, 7.0), (2.0, 7.0)]] {
            for is_log in [false, true] {
                let svg = plot(points.clone(), is_log);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn a_peak_survives_thinning() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[54_321].1 = 1_000.0;
        let svg = plot(points, true);
        assert!(svg.len() < 20_000, "{}", svg.len());
        assert!(svg.contains(">1000</text>") && svg.contains(",10.0 "), "{svg}");
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(round_steps(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(round_steps(0.0, 5), [0.0]);
        assert_eq!(log_steps(3.0, 40.0), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(log_steps(1.0, 1e6).len(), 7);
        assert_eq!(mean(&[(0.0, 1.0), (1.0, 3.0)]), 2.0);
    }
}
