//! One page with tables and charts that needs nothing beside it.

use anyhow::Result;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use crate::report::markdown::asked;
use crate::report::{charts, ratio, scale};
use crate::results::Results;
use crate::workloads;
use crate::workloads::Workload;

#[derive(Serialize)]
struct Chart {
    title: &'static str,
    unit: &'static str,
    more_is_better: bool,
    ratio: Option<String>,
    must: String,
    svg: String,
}

#[derive(Serialize)]
struct Section {
    title: String,
    charts: Vec<Chart>,
}

#[derive(Serialize)]
struct Page<'r> {
    #[serde(flatten)]
    results: &'r Results,
    ratios: String,
    sections: Vec<Section>,
}

fn chart(workload: &Workload, ratio: Option<f64>, svg: String) -> Chart {
    Chart {
        title: workload.title,
        unit: workload.unit.label(),
        more_is_better: workload.unit.is_more_better(),
        must: ratio.map_or_else(String::new, |_| asked(workload).0),
        ratio: ratio.map(|ratio| format!("{ratio:.2}")),
        svg,
    }
}

pub fn page(results: &Results) -> Result<String> {
    let mut sections = Vec::new();
    for shape in results.shapes() {
        let mut drawn = Vec::new();
        for workload in workloads::ALL {
            if let Some(svg) = charts::workload(results, shape, workload)? {
                drawn.push(chart(workload, ratio(results, shape, workload), svg));
            }
        }
        sections.push(Section { title: shape.to_string(), charts: drawn });
    }
    let mut sizes: Vec<usize> = results.shapes().iter().map(|shape| shape.value_bytes).collect();
    sizes.dedup();
    for value_bytes in sizes {
        let mut drawn = Vec::new();
        for workload in workloads::ALL {
            if let Some(svg) = scale::workload(results, value_bytes, workload)? {
                drawn.push(chart(workload, None, svg));
            }
        }
        if !drawn.is_empty() {
            sections.push(Section { title: format!("By the number of records of {value_bytes} bytes"), charts: drawn });
        }
    }
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html"))?;
    let ratios = charts::ratios(results)?;
    let page = Value::from(Serde(Page { results, ratios, sections }));
    Ok(environment.get_template("page.html")?.render(page)?)
}
