//! The tables as a picture: horizontal bars with whiskers from the least to the most, in SVG by hand. Colours that stand out
//! on light and on dark ground alike; no script, no font, nothing from elsewhere.

use std::fmt::Write as _;

use super::report::{Row, Table};
use super::spread::Spread;

const WIDTH: f64 = 860.0;
/// Where bars begin, and where the longest ends.
const LEFT: f64 = 200.0;
const RIGHT: f64 = 680.0;
const LINE: f64 = 24.0;
const TITLE: f64 = 52.0;
/// Greys and hues of middle lightness.
const INK: &str = "#768390";
const OURS: &str = "#2f81f7";
const CEILING: &str = "#8b949e";
const OTHERS: &str = "#d0803a";

pub(crate) fn svg(tables: &[Table]) -> String {
    let bars = |table: &Table| table.rows.iter().filter(|row| row.bar.is_some()).count();
    let heights = tables.iter().map(|table| TITLE + LINE * count(bars(table)));
    let height = heights.sum::<f64>() + LINE;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <title>monigate next to others</title>\n"
    );
    let mut top = 0.0;
    for table in tables {
        top += TITLE;
        text += &format!(
            "<text x=\"12\" y=\"{:.0}\" font-weight=\"600\">{}</text>\n<text x=\"12\" y=\"{:.0}\" font-size=\"11\">{}</text>\n",
            top - 24.0,
            escaped(&format!("{}: {}", table.name, table.title)),
            top - 8.0,
            escaped(table.unit),
        );
        let most = table.rows.iter().filter_map(|row| row.bar).map(|bar| bar.most).fold(f64::MIN_POSITIVE, f64::max);
        for row in &table.rows {
            let Some(bar) = row.bar else { continue };
            line(&mut text, row, bar, top, (RIGHT - LEFT) / most);
            top += LINE;
        }
    }
    text + "</svg>\n"
}

fn line(text: &mut String, row: &Row, bar: Spread, top: f64, scale: f64) {
    let at = |value: f64| LEFT + value.max(0.0) * scale;
    let (middle, end) = (top + LINE / 2.0, at(bar.median));
    let colour = match row.label {
        "monigate" => OURS,
        label if label.starts_with("bare") || label.starts_with("the origin") => CEILING,
        _ => OTHERS,
    };
    let (low, high) = (at(bar.least), at(bar.most));
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"2\" fill=\"{colour}\" fill-opacity=\"0.55\"/>\n\
         <path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\" stroke=\"{INK}\" \
         stroke-width=\"1.5\" fill=\"none\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        LEFT - 8.0,
        middle + 4.5,
        escaped(row.label),
        middle - 7.0,
        end - LEFT,
        middle - 4.0,
        middle - 4.0,
        high.max(end) + 8.0,
        middle + 4.5,
        escaped(&bar.shown(if bar.median < 100.0 { 1 } else { 0 })),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
