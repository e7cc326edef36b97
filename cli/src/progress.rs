//! Progress on a terminal, and silence everywhere else: `indicatif` draws nothing where stderr is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A bar of known length.
pub(crate) fn bar(length: usize, label: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<24} {wide_bar} {human_pos}/{human_len} {eta}");
    ProgressBar::new(length as u64)
        .with_style(style.expect("the template is a constant"))
        .with_prefix(label.into())
}

/// A sign of life for something of unknown length. Ends when dropped.
pub(crate) fn spinner(label: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<24} {spinner} {elapsed}");
    let spinner = ProgressBar::new_spinner()
        .with_style(style.expect("the template is a constant"))
        .with_prefix(label.into());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}
