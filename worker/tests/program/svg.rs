//! Small charts of time series, as SVG that is light or dark as its reader's page is.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// The plot within it: left, right, top, bottom.
const PLOT: [f64; 4] = [76.0, 696.0, 66.0, 286.0];
/// Lines across the plot, at most, and the marks below it.
const TICKS_MAX: [f64; 2] = [5.0, 10.0];
/// Colors of series, on a light page and on a dark one.
const COLORS: [(&str, &str); 4] = [
    ("#2f7de1", "#58a6ff"),
    ("#d9480f", "#ff922b"),
    ("#2b8a3e", "#51cf66"),
    ("#7048e8", "#b197fc"),
];

/// A line of a chart.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Seconds, and the value then. Points that are further apart than `Chart::step` are not joined.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart over seconds.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What is on the vertical axis, with its unit.
    pub(crate) unit: String,
    /// Seconds between two points.
    pub(crate) step: f64,
    pub(crate) series: Vec<Series>,
    /// Moments, and what happened then.
    pub(crate) marks: Vec<(f64, String)>,
}

impl Chart {
    /// The picture.
    pub(crate) fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let end = points().map(|(at, _)| *at).fold(1.0, f64::max);
        let top = points().map(|(_, value)| *value).fold(0.0, f64::max);
        // Marks are named above what is drawn.
        let headroom = if self.marks.is_empty() { 1.0 } else { 1.3 };
        let (x_step, y_step) = (
            nice(end / TICKS_MAX[1]),
            nice(top * headroom / TICKS_MAX[0]),
        );
        let top = ((top * headroom / y_step).ceil() * y_step).max(y_step);
        let [left, right, above, below] = PLOT;
        let x = |at: f64| left + (right - left) * at / end;
        let y = |value: f64| below - (below - above) * value / top;
        let mut svg = head(&self.title, &self.unit);
        for tick in ticks(y_step, top) {
            let at = y(tick);
            write!(svg, "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n", left - 8.0, at + 4.0, told(tick)).unwrap();
        }
        for tick in ticks(x_step, end) {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                x(tick),
                below + 20.0,
                told(tick)
            )
            .unwrap();
        }
        for (number, (at, what)) in self.marks.iter().enumerate() {
            // One above the other, so that close ones can be read.
            let (at, label) = (
                x(*at),
                above + 12.0 + 15.0 * f64::from(u8::try_from(number).unwrap()),
            );
            let (anchor, beside) = match at > left + (right - left) * 0.75 {
                true => ("end", at - 5.0),
                false => ("start", at + 5.0),
            };
            write!(svg, "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{above}\" y2=\"{below}\"/>\n<text x=\"{beside:.1}\" y=\"{label:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(what)).unwrap();
        }
        let mut legend = left;
        for (number, series) in self.series.iter().enumerate() {
            let color = number % COLORS.len();
            for part in parts(&series.points, self.step) {
                let corners = part
                    .iter()
                    .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)));
                let corners = corners.collect::<Vec<_>>().join(" ");
                writeln!(
                    svg,
                    "<polyline class=\"line s{color}\" points=\"{corners}\"/>"
                )
                .unwrap();
            }
            let (line, text) = (below + 44.0, below + 48.0);
            write!(svg, "<line class=\"line s{color}\" x1=\"{legend:.1}\" x2=\"{:.1}\" y1=\"{line}\" y2=\"{line}\"/>\n<text x=\"{:.1}\" y=\"{text}\">{}</text>\n", legend + 18.0, legend + 24.0, escaped(&series.name)).unwrap();
            let letters = u16::try_from(series.name.chars().count()).unwrap();
            legend += 44.0 + 7.2 * f64::from(letters);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn head(title: &str, unit: &str) -> String {
    let colors = |dark: bool| -> String {
        let rules = COLORS.iter().enumerate().map(|(number, (light, night))| {
            let color = if dark { night } else { light };
            format!("  .s{number} {{ stroke: {color} }}\n")
        });
        rules.collect()
    };
    let (title, unit) = (escaped(title), escaped(unit));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"t\">\n\
         <style>\n  text {{ font: 13px system-ui, -apple-system, \"Segoe UI\", Helvetica, Arial, sans-serif; fill: #59636e }}\n  \
         .title {{ font-size: 16px; font-weight: 600; fill: #24292f }}\n  \
         .grid {{ stroke: #8c959f; stroke-opacity: 0.3; stroke-width: 1 }}\n  \
         .mark {{ stroke: #8c959f; stroke-width: 1; stroke-dasharray: 4 4 }}\n  \
         .line {{ stroke-width: 2; fill: none; stroke-linejoin: round }}\n{}  \
         @media (prefers-color-scheme: dark) {{\n  text {{ fill: #9198a1 }}\n  .title {{ fill: #f0f6fc }}\n{}  }}\n</style>\n\
         <title id=\"t\">{title}</title>\n<text class=\"title\" x=\"20\" y=\"24\">{title}</text>\n<text x=\"20\" y=\"46\">{unit}</text>\n",
        colors(false),
        colors(true)
    )
}

/// 1, 2 or 5 times a power of ten, and no less than `least`.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let found = steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9));
    found.unwrap_or(10.0 * power)
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    let each = (0_u16..).map(move |number| step * f64::from(number));
    each.take_while(move |tick| *tick <= end * (1.0 + 1e-9))
}

/// A number of an axis.
fn told(value: f64) -> String {
    let (short, suffix) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = format!("{short:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

/// Points that belong together, as far as none is missing between them.
fn parts(points: &[(f64, f64)], step: f64) -> Vec<&[(f64, f64)]> {
    let parts = points.chunk_by(|(before, _), (after, _)| after - before < 1.5 * step);
    parts.collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[test]
fn a_chart_has_axes_a_legend_and_gaps_where_nothing_was_measured() {
    let chart = Chart {
        title: "Rows <read>".to_owned(),
        unit: "rows a second".to_owned(),
        step: 1.0,
        series: vec![
            Series {
                name: "worker 1".to_owned(),
                points: vec![
                    (0.0, 0.0),
                    (1.0, 40_000.0),
                    (5.0, 90_000.0),
                    (6.0, 95_000.0),
                ],
            },
            Series {
                name: "worker 2".to_owned(),
                points: vec![(0.0, 10.0), (1.0, 20.0)],
            },
        ],
        marks: vec![(3.0, "killed".to_owned())],
    };
    let svg = chart.draw();
    assert_eq!(svg.matches("<polyline").count(), 3, "{svg}");
    for told in [
        "100 k",
        "50 k",
        "150 k",
        ">0<",
        ">6 s<",
        "Rows &lt;read&gt;",
        "worker 2",
        "killed",
        "prefers-color-scheme: dark",
    ] {
        assert!(svg.contains(told), "{told}: {svg}");
    }
    // 95,000 of the 150,000 that there is room for, below the names of marks.
    assert!(svg.contains("points=\"592.7,154.0 696.0,146.7\""), "{svg}");
    let empty = Chart {
        series: Vec::new(),
        ..chart
    };
    assert!(empty.draw().ends_with("</svg>\n"));
}

#[test]
fn axes_have_round_numbers() {
    for (least, expected) in [
        (0.3, 0.5),
        (1.0, 1.0),
        (1.1, 2.0),
        (19_000.0, 20_000.0),
        (7.0, 10.0),
    ] {
        let step = nice(least);
        assert!((step - expected).abs() < 1e-9, "{least}: {step}");
    }
    assert_eq!(ticks(20.0, 100.0).count(), 6);
    assert_eq!(
        (told(1500.0), told(12_500.0), told(2e6)),
        ("1500".into(), "12.5 k".into(), "2 M".into())
    );
}
