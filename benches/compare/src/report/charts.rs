//! Charts as SVG, drawn by plotters.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::engines::{LIMIT, OWN};
use crate::report::{best_other, engines, number, ratio};
use crate::results::{Results, Shape};
use crate::workloads;
use crate::workloads::{Bar, Workload};

const WIDTH: u32 = 860;
const LABEL: u32 = 330;
const LINE: u32 = 24;
/// Comes out as 14 in the picture.
const FONT: u32 = 17;
const OWN_COLOUR: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const OTHER_COLOUR: RGBColor = RGBColor(0xb0, 0xb7, 0xbf);
const LIMIT_COLOUR: RGBColor = RGBColor(0xe0, 0xd8, 0xc0);
const MISSED_COLOUR: RGBColor = RGBColor(0xd6, 0x5f, 0x5f);

/// One line of a chart.
struct Line {
    label: String,
    value: f64,
    text: String,
    colour: RGBColor,
    /// A stroke across the line.
    mark: Option<f64>,
}

fn text(size: u32, anchor: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(anchor, VPos::Center))
}

/// Lines below each other, each with a bar from zero on.
fn draw(lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    let height = LINE * u32::try_from(lines.len())? + 8;
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let widest = lines.iter().flat_map(|line| [Some(line.value), line.mark]).flatten().fold(0.0, f64::max);
        let scale = f64::from(WIDTH - LABEL - 130) / widest.max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_possible_truncation, reason = "a place within the picture")]
        let place = |value: f64| LABEL.cast_signed() + (value * scale).round() as i32;
        let drawn = |error| anyhow!("a chart cannot be drawn: {error}");
        // Black on white, also on a dark page.
        area.fill(&WHITE).map_err(drawn)?;
        for (index, line) in lines.iter().enumerate() {
            let top = 4 + i32::try_from(index)? * LINE.cast_signed();
            let middle = top + LINE.cast_signed() / 2;
            let name = Text::new(line.label.clone(), (LABEL.cast_signed() - 8, middle), text(FONT, HPos::Right));
            area.draw(&name).map_err(drawn)?;
            let bar = [(LABEL.cast_signed(), top + 3), (place(line.value), top + LINE.cast_signed() - 3)];
            area.draw(&Rectangle::new(bar, line.colour.filled())).map_err(drawn)?;
            let end = place(line.mark.unwrap_or(0.0).max(line.value)) + 6;
            area.draw(&Text::new(line.text.clone(), (end, middle), text(FONT, HPos::Left))).map_err(drawn)?;
            if let Some(mark) = line.mark {
                let stroke = vec![(place(mark), top + 1), (place(mark), top + LINE.cast_signed() - 1)];
                area.draw(&PathElement::new(stroke, BLACK.stroke_width(2))).map_err(drawn)?;
            }
        }
        area.present().map_err(drawn)?;
    }
    Ok(svg)
}

/// All engines in one workload.
pub fn workload(results: &Results, shape: Shape, workload: &Workload) -> Result<Option<String>> {
    let mut lines = Vec::new();
    for engine in engines(results) {
        let Some(value) = results.figure(shape, &engine, workload.name) else { continue };
        let colour = match engine.as_str() {
            OWN => OWN_COLOUR,
            LIMIT => LIMIT_COLOUR,
            _ => OTHER_COLOUR,
        };
        lines.push(Line { label: engine, value, text: number(value), colour, mark: None });
    }
    if lines.is_empty() { Ok(None) } else { draw(&lines).map(Some) }
}

/// The ratio of Tenure to the best other engine in all workloads of the first shape with bars that all have; the strokes
/// are what is asked.
pub fn ratios(results: &Results) -> Result<String> {
    let mut lines = Vec::new();
    let count = |shape: &Shape| results.samples.iter().filter(|sample| sample.shape == *shape).count();
    let shape = results.shapes().into_iter().max_by_key(count);
    for workload in workloads::ALL {
        let Some(shape) = shape else { break };
        let Bar::Ratio { must, .. } = workload.bar else { continue };
        let (Some(ratio), Some(best)) = (ratio(results, shape, workload), best_other(results, shape, workload)) else {
            continue;
        };
        lines.push(Line {
            label: workload.title.to_owned(),
            value: ratio,
            text: format!("{ratio:.2} × {}", best.engine),
            colour: if ratio >= must { OWN_COLOUR } else { MISSED_COLOUR },
            mark: Some(must),
        });
    }
    draw(&lines)
}
