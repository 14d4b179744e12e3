//! Draws numbers as SVG: lines over two logarithmic axes, and the card that they are drawn on.
//!
//! Shared by `sessions.rs` and the package `peers`. A picture is self-contained: it has its
//! background, for light and dark mode, its units, and a line with the source of its numbers.

use std::fmt::Write;

pub(crate) const WIDTH: f64 = 960.0;
pub(crate) const MARGIN: f64 = 24.0;
/// The top of the drawing, below the title.
pub(crate) const TOP: f64 = 92.0;
const HEAD: &str = r#"<style>
svg{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;font-size:13px}
.card{fill:#fff;stroke:#d1d9e0}.text{fill:#1f2328}.soft{fill:#59636e}.title{font-size:17px;font-weight:600}.bold{font-weight:600}
.source{font-size:11.5px}.grid{stroke:#e6eaef}.axis{stroke:#818b98}.end{text-anchor:end}.middle{text-anchor:middle}
.line{fill:none;stroke-width:2}.ours{stroke-width:3.5}.dash{stroke-dasharray:6 4}
.s0{--c:#0969da}.s1{--c:#218bff}.s2{--c:#bc4c00}.s3{--c:#9a6700}.s4{--c:#1a7f37}.s5{--c:#8250df}.s6{--c:#bf3989}.s7{--c:#0e7c86}.s8{--c:#57606a}
.line,.dot{stroke:var(--c)}.dot,.name,.bar{fill:var(--c)}
@media(prefers-color-scheme:dark){
.card{fill:#0d1117;stroke:#3d444d}.text{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#22282f}.axis{stroke:#656c76}
.s0{--c:#4493f8}.s1{--c:#79c0ff}.s2{--c:#f0883e}.s3{--c:#d9a520}.s4{--c:#3fb950}.s5{--c:#ab7df8}.s6{--c:#f778ba}.s7{--c:#39c5cf}.s8{--c:#9198a1}}
</style>
"#;

/// The style of a line, of a bar and of their names.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// From 0 to 8: 0 and 1 are blue, 8 is grey, the others are unrelated.
    pub(crate) colour: u8,
    /// Whether it stands out.
    pub(crate) is_bold: bool,
    /// A bound, not measured points.
    pub(crate) is_dashed: bool,
}

impl Style {
    pub(crate) fn plain(colour: u8) -> Self {
        Self { colour, is_bold: false, is_dashed: false }
    }

    /// Returns the font weight of its text.
    pub(crate) fn weight(self) -> &'static str {
        if self.is_bold { " bold" } else { "" }
    }
}

/// The texts of a picture.
pub(crate) struct Words {
    pub(crate) title: String,
    /// The quantity, with its unit.
    pub(crate) subtitle: String,
    /// The machine and the command.
    pub(crate) source: Vec<String>,
}

/// An axis from `first` to `last`.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// The positions and the texts of the numbers.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Returns the position of a value as a part of the axis.
    fn part(&self, value: f64) -> f64 {
        (value / self.first).ln() / (self.last / self.first).ln()
    }
}

/// Returns 1, 2, 5, 10, 20, … around all `values`.
pub(crate) fn one_two_five(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) =
        values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let mut steps: Vec<f64> = vec![];
    for power in -3..10 {
        steps.extend([1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    }
    steps.retain(|step| *step > low / 2.5 && *step < high * 2.5);
    steps
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) style: Style,
    pub(crate) points: Vec<(f64, f64)>,
    /// Targets, drawn as diamonds.
    pub(crate) targets: Vec<(f64, f64)>,
}

/// Draws lines with their names at their ends.
pub(crate) fn lines(words: &Words, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let (left, right, height) = (MARGIN + 58.0, WIDTH - 210.0, 360.0);
    let bottom = TOP + height;
    let at_x = |value| left + x.part(value) * (right - left);
    let at_y = |value| bottom - y.part(value) * height;
    let mut svg = String::new();
    for (value, text) in &y.ticks {
        let level = at_y(*value);
        let _ = writeln!(
            svg,
            r#"<path class="grid" d="M{left} {level:.1}H{right}"/><text class="soft end" x="{:.1}" y="{:.1}">{text}</text>"#,
            left - 8.0,
            level + 4.5
        );
    }
    for (value, text) in &x.ticks {
        let along = at_x(*value);
        let _ = writeln!(
            svg,
            r#"<path class="grid" d="M{along:.1} {TOP}V{bottom}"/><text class="soft middle" x="{along:.1}" y="{:.1}">{text}</text>"#,
            bottom + 19.0
        );
    }
    let _ = writeln!(
        svg,
        r#"<path class="axis" fill="none" d="M{left} {TOP}V{bottom}H{right}"/><text class="text middle" x="{:.1}" y="{:.1}">{}</text><text class="text" x="{MARGIN}" y="{:.1}">{}</text>"#,
        f64::midpoint(left, right),
        bottom + 40.0,
        x.label,
        TOP - 13.0,
        y.label
    );
    // The first in the list is drawn last, on top of the others.
    for Series { name, style, points, targets } in series.iter().rev() {
        let kind = match style {
            Style { is_dashed: true, .. } => " dash",
            Style { is_bold: true, .. } => " ours",
            _ => "",
        };
        let placed = points.iter().map(|(x, y)| (at_x(*x), at_y(*y)));
        let path: Vec<String> = placed.clone().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(
            svg,
            r#"<g class="s{}"><title>{}</title><path class="line{kind}" d="M{}"/>"#,
            style.colour,
            escaped(name),
            path.join("L")
        );
        if !style.is_dashed {
            for (x, y) in placed {
                let _ = write!(svg, r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
            }
        }
        for (x, y) in targets {
            let (x, y) = (at_x(*x), at_y(*y) - 6.0);
            let _ = write!(svg, r#"<path class="line" d="M{x:.1} {y:.1}l6 6l-6 6l-6 -6z"/>"#);
        }
        svg.push_str("</g>\n");
    }
    names(&mut svg, series, right, bottom, at_y);
    picture(words, bottom + 58.0, &svg)
}

/// Draws the names of lines beside their ends, moved apart if they would overlap.
fn names(svg: &mut String, series: &[Series], x: f64, bottom: f64, at_y: impl Fn(f64) -> f64) {
    const APART: f64 = 18.0;
    let mut ends: Vec<(f64, &Series)> =
        series.iter().filter_map(|series| Some((at_y(series.points.last()?.1), series))).collect();
    ends.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut levels: Vec<f64> = ends.iter().map(|(level, _)| *level).collect();
    // Neighbours push each other apart until all have room.
    for _ in 0..200 {
        for index in 1..levels.len() {
            if let Some([above, below]) = levels.get_mut(index - 1..=index) {
                let missing = APART - (*below - *above);
                if missing > 0.0 {
                    *above -= missing / 2.0;
                    *below += missing / 2.0;
                }
            }
        }
        for level in &mut levels {
            *level = level.min(bottom);
        }
    }
    for ((end, Series { name, style, .. }), level) in ends.iter().zip(levels) {
        let (colour, weight) = (style.colour, style.weight());
        let _ = writeln!(
            svg,
            r#"<g class="s{colour}"><path class="line" style="stroke-width:1" d="M{:.1} {end:.1}L{:.1} {level:.1}"/><text class="name{weight}" x="{:.1}" y="{:.1}">{}</text></g>"#,
            x + 5.0,
            x + 20.0,
            x + 25.0,
            level + 4.5,
            escaped(name)
        );
    }
}

/// Puts `drawn` on its card, with the texts above and below; `bottom` is the top of those below.
pub(crate) fn picture(words: &Words, bottom: f64, drawn: &str) -> String {
    let mut source = String::new();
    let mut level = bottom + 10.0;
    for line in &words.source {
        let _ = writeln!(
            source,
            r#"<text class="soft source" x="{MARGIN}" y="{level:.1}">{}</text>"#,
            escaped(line)
        );
        level += 16.0;
    }
    let (title, subtitle) = (escaped(&words.title), escaped(&words.subtitle));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {level:.0}" width="{WIDTH}" height="{level:.0}" role="img" aria-label="{title}: {subtitle}">
{HEAD}<rect class="card" x=".5" y=".5" width="{:.1}" height="{:.1}" rx="6"/>
<text class="text title" x="{MARGIN}" y="32">{title}</text><text class="soft" x="{MARGIN}" y="52">{subtitle}</text>
{drawn}{source}</svg>
"#,
        WIDTH - 1.0,
        level - 1.0
    )
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
