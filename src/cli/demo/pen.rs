//! How the tour is written: aligned, in colour on a terminal, as plain text into a pipe.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const QUIET: Style = Style::new().dimmed();

/// Writes the tour.
pub(super) struct Pen<W> {
    out: W,
    colour: bool,
}

impl<W: Write> Pen<W> {
    pub(super) fn new(out: W, colour: bool) -> Self {
        Self { out, colour }
    }

    /// A heading with an empty line before it.
    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out)?;
        self.styled(TITLE, text)
    }

    /// A sentence.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.styled(Style::new(), text)
    }

    /// A side remark, or something to copy.
    pub(super) fn quietly(&mut self, text: &str) -> io::Result<()> {
        self.styled(QUIET, text)
    }

    /// One answer: what was asked, how it was served, how long it took, and what that means.
    pub(super) fn row(&mut self, what: &str, how: &str, took: &str, meaning: &str) -> io::Result<()> {
        let (on, off) = self.marks(GOOD);
        writeln!(self.out, "   {what:<27} {on}{how:<11}{off} {took:>10}   {meaning}")?;
        self.out.flush()
    }

    fn styled(&mut self, style: Style, text: &str) -> io::Result<()> {
        let (on, off) = self.marks(style);
        for line in text.lines() {
            writeln!(self.out, "{on}{line}{off}")?;
        }
        self.out.flush()
    }

    fn marks(&self, style: Style) -> (String, String) {
        if self.colour { (style.render().to_string(), style.render_reset().to_string()) } else { Default::default() }
    }
}
