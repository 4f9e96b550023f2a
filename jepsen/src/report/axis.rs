//! Time from left to right.

use crate::checker::Evidence;
use std::fmt::Write as _;

/// Pixels of a drawing's time.
pub(super) const WIDTH: usize = 1280;
/// Pixels before it, for names.
pub(super) const LEFT: usize = 130;

/// The time of a drawing.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub begin_ns: u64,
    pub end_ns: u64,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
impl Axis {
    /// The whole run.
    pub(super) fn of(evidence: &Evidence) -> Axis {
        let ops = evidence.history.ops.iter().map(|op| op.return_ns.unwrap_or(op.call_ns));
        let last = ops.chain(evidence.faults.iter().map(|fault| fault.time_ns)).max();
        Axis {
            begin_ns: 0,
            end_ns: last.unwrap_or(0).max(1),
        }
    }

    /// Pixels from the left of the drawing.
    pub(super) fn x(&self, ns: u64) -> f64 {
        let share = ns.saturating_sub(self.begin_ns) as f64 / (self.end_ns - self.begin_ns).max(1) as f64;
        ((LEFT as f64 + share.min(1.0) * WIDTH as f64) * 10.0).round() / 10.0
    }

    /// In which of so many equal parts a time is.
    pub(super) fn part(&self, ns: u64, parts: usize) -> usize {
        let share = ns.saturating_sub(self.begin_ns) as f64 / (self.end_ns - self.begin_ns).max(1) as f64;
        ((share * parts as f64) as usize).min(parts - 1)
    }

    /// Marks with their times, below a drawing of that height.
    pub(super) fn draw(&self, out: &mut String, height: usize) {
        let span = (self.end_ns - self.begin_ns) as f64 / 1e9;
        let rough = span / 10.0;
        let scale = 10_f64.powf(rough.max(1e-9).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|n| n * scale)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let begin = self.begin_ns as f64 / 1e9;
        let digits = if step >= 1.0 {
            0
        } else {
            (-step.log10().floor()) as usize
        };
        let mut at = (begin / step).ceil() * step;
        while at <= begin + span {
            let x = self.x((at * 1e9) as u64);
            let _ = write!(
                out,
                "<line class=\"axis\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{height}\"/><text x=\"{x}\" y=\"{}\">{at:.digits$} s</text>",
                height + 12
            );
            at += step;
        }
    }
}

/// Begins a drawing of that height, marks included.
pub(super) fn begin(out: &mut String, id: &str, height: usize) {
    let _ = write!(
        out,
        "<svg id=\"{id}\" viewBox=\"0 0 {} {}\" width=\"{}\">",
        LEFT + WIDTH + 20,
        height + 18,
        LEFT + WIDTH + 20
    );
}
