//! What is told: tables, as text and as Markdown, under the versions of everything that took part. Refuses a figure without
//! its spread where there is one.

use std::fs;
use std::path::Path;

use super::spread::Spread;
use super::tools::{Tools, first_line};

/// One case.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Of the bars.
    pub(crate) unit: &'static str,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

/// One server of a case.
pub(crate) struct Row {
    pub(crate) label: &'static str,
    pub(crate) cells: Vec<String>,
    pub(crate) bar: Option<Spread>,
}

/// How the figures came about, said once.
pub(crate) fn method(rounds: u32, seconds: u32, body: usize) -> String {
    format!(
        "{rounds} rounds of {seconds} s for each server, in turn; medians (least to most); ratios are of the same round. \
         Answers are sessions of {body} bytes. \
         Servers on one core with one worker each, load and origin on another, all on loopback."
    )
}

/// The machine and everything that takes part, a line each.
pub(crate) fn versions(tools: &Tools) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let mut lines = vec![
        format!("{}, {cores} cores, load {load} before", model.map_or("unknown CPU", |(_, model)| model)),
        format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
    ];
    let own = [(env!("CARGO_BIN_EXE_monigate"), "--version"), ("rustc", "--version")];
    lines.extend(own.iter().filter_map(|(program, flag)| first_line(Path::new(program), flag)));
    lines.extend(tools.versions());
    lines
}

// === impl Table ===

impl Table {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut text = format!("\n{}: {}\n\n", self.name, self.title);
        for line in &lines {
            for (column, cell) in line.iter().enumerate() {
                // Names to the left, figures to the right.
                let wide = width(column);
                text += &if column == 0 { format!("  {cell:<wide$}") } else { format!("  {cell:>wide$}") };
            }
            text.push('\n');
        }
        self.notes.iter().for_each(|note| text += &format!("  {note}\n"));
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("\n### `{}`: {}\n\n", self.name, self.title);
        for (number, line) in self.lines().iter().enumerate() {
            text += &format!("| {} |\n", line.join(" | "));
            if number == 0 {
                text += &format!("| --- |{}\n", " ---: |".repeat(line.len() - 1));
            }
        }
        self.notes.iter().for_each(|note| text += &format!("\n{note}\n"));
        text
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let head = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let row = |row: &Row| std::iter::once(row.label.to_owned()).chain(row.cells.clone()).collect();
        std::iter::once(head).chain(self.rows.iter().map(row)).collect()
    }
}

/// All tables, with how they came about.
pub(crate) fn markdown(method: &str, versions: &[String], tables: &[Table]) -> String {
    let mut text = format!("{method}\n\n");
    versions.iter().for_each(|line| text += &format!("- {line}\n"));
    tables.iter().for_each(|table| text += &table.markdown());
    text
}
