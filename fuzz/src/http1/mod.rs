//! Harnesses of `http1`: requests, responses and bodies, each against a slow reference, cut into
//! pieces, and written again.

mod body;
mod reference;
mod request;
mod response;

pub use body::http1_body;
pub use request::http1_request;
pub use response::http1_response;

use ringfort::http1::request::HeadLimits;
use ringfort::http1::scan::HeadScan;

/// Small, so that random input reaches them.
const LIMITS: HeadLimits = HeadLimits { bytes_max: 512, fields_max: 8 };

/// Feeds a head by pieces as a connection does, parsing only where that is due. The outcome, and
/// how often it was parsed.
fn fed<T>(bytes: &[u8], piece: usize, parse: impl Fn(&[u8]) -> Option<T>) -> (Option<T>, usize) {
    let mut scan = HeadScan::new();
    let mut parses = 0;
    let ends = (0..bytes.len()).step_by(piece).skip(1).chain([bytes.len()]);
    for end in ends {
        if scan.is_due(&bytes[..end], LIMITS.bytes_max) {
            parses += 1;
            if let Some(outcome) = parse(&bytes[..end]) {
                return (Some(outcome), parses);
            }
        }
    }
    (None, parses)
}
