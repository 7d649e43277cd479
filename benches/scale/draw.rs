//! The drawing: a panel for each figure, with the store and its limit over the number of records, both axes
//! logarithmic.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange as _;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{Color as _, RGBColor, WHITE};

use crate::Size;
use crate::run::Figure;

const STORE: RGBColor = RGBColor(0, 92, 168);
const LIMIT: RGBColor = RGBColor(150, 150, 150);
const FIELDS: (usize, usize) = (4, 3);
const PIXELS: (u32, u32) = (1080, 1080);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// `10k`, `1M`.
fn scaled(value: f64) -> String {
    if value < 1e6 { format!("{}k", value / 1e3) } else { format!("{}M", value / 1e6) }
}

fn field(area: &Area<'_>, sizes: &[Size], place: usize) {
    let figure = &sizes[0].figures[place];
    let points = |value: fn(&Figure) -> f64| -> Vec<(f64, f64)> {
        let point =
            |size: &Size| (f64::from(u32::try_from(size.records).expect("32 bits")), value(&size.figures[place]));
        sizes.iter().map(point).collect()
    };
    let lines = [(points(|figure| figure.limit), LIMIT), (points(|figure| figure.store), STORE)];
    let all = || lines.iter().flat_map(|(points, _)| points);
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for (_, value) in all() {
        (low, high) = (low.min(*value), high.max(*value));
    }
    let (first, last) = (lines[0].0[0].0, lines[0].0[sizes.len() - 1].0);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}, {}", figure.name, figure.unit), ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d((first / 1.5..last * 1.5).log_scale(), (low / 2.0..high * 2.0).log_scale())
        .expect("a field");
    let records = |records: &f64| scaled(*records);
    let values = |value: &f64| if *value < 1000.0 { value.to_string() } else { scaled(*value) };
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(sizes.len() + 1).y_labels(5).max_light_lines(0);
    mesh.x_label_formatter(&records).y_label_formatter(&values).draw().expect("axes");
    for (points, colour) in &lines {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2))).expect("a line");
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled()))).expect("points");
    }
}

fn legend(area: &Area<'_>) {
    for (row, (text, colour)) in [("Tenure", STORE), ("its limit", LIMIT)].into_iter().enumerate() {
        let y = 60 + 28 * i32::try_from(row).expect("small");
        area.draw(&PathElement::new([(30, y), (70, y)], colour.stroke_width(2))).expect("a line");
        area.draw(&Circle::new((50, y), 3, colour.filled())).expect("a point");
        area.draw(&Text::new(text, (82, y - 8), ("sans-serif", 15))).expect("a text");
    }
    let lines = ["Time or space over the number of records.", "Less is better; both axes are logarithmic."];
    for (row, text) in lines.into_iter().enumerate() {
        let y = 120 + 22 * i32::try_from(row).expect("small");
        area.draw(&Text::new(text, (30, y), ("sans-serif", 13))).expect("a text");
    }
}

/// The drawing as SVG.
pub(crate) fn draw(sizes: &[Size]) -> String {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, PIXELS).into_drawing_area();
        root.fill(&WHITE).expect("a ground");
        let areas = root.split_evenly(FIELDS);
        let figures = sizes.first().map_or(0, |size| size.figures.len());
        assert!(figures < areas.len(), "more figures than fields: make `FIELDS` larger");
        for (place, area) in areas.iter().take(figures).enumerate() {
            field(area, sizes, place);
        }
        legend(&areas[areas.len() - 1]);
        root.present().expect("drawn");
    }
    text
}
