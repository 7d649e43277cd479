//! How a figure grows with the number of records.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::engines::{LIMIT, OWN};
use crate::report::{engines, number};
use crate::results::{Results, Shape};
use crate::workloads::Workload;

const SIZE: (u32, u32) = (860, 320);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
];

/// A line for each engine; nothing where fewer than two sizes were measured.
pub fn workload(results: &Results, value_bytes: usize, workload: &Workload) -> Result<Option<String>> {
    let shapes: Vec<Shape> = results.shapes().into_iter().filter(|shape| shape.value_bytes == value_bytes).collect();
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for engine in engines(results) {
        let point = |shape: &Shape| {
            let value = results.figure(*shape, &engine, workload.name)?;
            (value > 0.0).then_some((f64::from(shape.records), value))
        };
        let points: Vec<(f64, f64)> = shapes.iter().filter_map(point).collect();
        if points.len() > 1 {
            lines.push((engine, points));
        }
    }
    if lines.is_empty() { Ok(None) } else { draw(&lines).map(Some) }
}

fn draw(lines: &[(String, Vec<(f64, f64)>)]) -> Result<String> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let low = all().map(of).fold(f64::INFINITY, f64::min);
        low..all().map(of).fold(low, f64::max) * 1.001
    };
    let (records, values) = (range(|point| point.0), range(|point| point.1));
    let mut svg = String::new();
    {
        let drawn = |error| anyhow!("a chart cannot be drawn: {error}");
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(drawn)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(48)
            .x_label_area_size(28)
            .y_label_area_size(84)
            .build_cartesian_2d(records.log_scale(), (values.start / 1.5..values.end * 1.5).log_scale())
            .map_err(drawn)?;
        let label = |value: &f64| number(*value);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(4)
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .draw()
            .map_err(drawn)?;
        let mut colours = COLOURS.iter().cycle();
        for (engine, points) in lines {
            let colour = match engine.as_str() {
                OWN => BLUE,
                LIMIT => RGBColor(0xa0, 0xa0, 0xa0),
                _ => *colours.next().unwrap_or(&BLACK),
            };
            let style = colour.stroke_width(if engine == OWN { 3 } else { 1 });
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(drawn)?
                .label(engine)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        let legend = &mut chart.configure_series_labels();
        legend.background_style(WHITE.mix(0.8)).border_style(TRANSPARENT).draw().map_err(drawn)?;
        area.present().map_err(drawn)?;
    }
    Ok(svg)
}
