//! Draws numbers as SVG: bars from zero.

use std::fmt::Write;

use crate::chart::{MARGIN, Style, TOP, WIDTH, Words, escaped, picture};

/// Bars with one scale, which begins at zero.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) style: Style,
    pub(crate) value: f64,
    /// The value as text.
    pub(crate) text: String,
}

/// Draws panels in two columns.
pub(crate) fn bars(words: &Words, panels: &[Panel]) -> String {
    let mut svg = String::new();
    let mut top = TOP;
    for pair in panels.chunks(2) {
        let column = WIDTH / 2.0 - 4.0;
        let heights = [MARGIN, column + MARGIN / 2.0].into_iter().zip(pair);
        let bottoms = heights.map(|(left, bars)| panel(&mut svg, bars, left, top));
        top = bottoms.fold(top, f64::max) + 36.0;
    }
    picture(words, top - 22.0, &svg)
}

/// Draws a panel from `top` on. Returns where it ends.
fn panel(svg: &mut String, panel: &Panel, left: f64, top: f64) -> f64 {
    const ROW: f64 = 23.0;
    let (from, length) = (left + 182.0, 140.0);
    let _ =
        writeln!(svg, r#"<text class="text bold" x="{left}" y="{top:.1}">{}</text>"#, panel.title);
    let mut level = top + 10.0;
    let highest = panel.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    for Bar { name, style, value, text } in &panel.bars {
        let (colour, weight) = (style.colour, style.weight());
        let end = from + length * value / highest;
        let _ = writeln!(
            svg,
            r#"<g class="s{colour}"><path class="bar" d="M{from} {:.1}H{end:.1}v15H{from}z"/></g><text class="text end{weight}" x="{:.1}" y="{:.1}">{}</text><text class="text{weight}" x="{:.1}" y="{:.1}">{}</text>"#,
            level + 4.0,
            from - 8.0,
            level + 16.0,
            escaped(name),
            end + 7.0,
            level + 16.0,
            escaped(text)
        );
        level += ROW;
    }
    let _ = writeln!(svg, r#"<path class="axis" d="M{from} {:.1}V{level:.1}"/>"#, top + 10.0);
    level
}
