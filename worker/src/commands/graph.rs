//! `job graph`: which jobs start after which, as text and as a picture.

use std::fmt::Write as _;
use std::io::Write as _;

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, GraphJob};
use serde_json::json;

use crate::cli::Global;
use crate::database;
use crate::failure::Failure;
use crate::job_flags::Graph;
use crate::output::Output;
use crate::staged::Staged;

/// Width and height of a job in a picture, and the room between two.
const BOX: (usize, usize) = (190, 44);
const GAP: (usize, usize) = (60, 18);
/// Room around a picture.
const MARGIN: usize = 16;
/// Characters of a name that fit in a box.
const NAME_LEN_MAX: usize = 24;

/// Tells and draws which jobs start after which.
///
/// # Errors
/// [`JobError::NotFound`](jobs::JobError::NotFound); what the engine refuses; [`Failure::Work`] where the picture cannot
/// be written.
pub(super) async fn graph(global: &Global, args: &Graph) -> Result<(), Failure> {
    let of = args.job.as_deref();
    let found = database::reading(global, async |db: &Db| Ok(jobs::graph(db, of).await?)).await?;
    if let Some(path) = &args.svg {
        let written = Staged::begin(path).and_then(|mut file| {
            file.write_all(svg(&found).as_bytes())?;
            file.publish()
        });
        written.map_err(|error| Failure::Work(format!("{}: {error}", path.display())))?;
    }
    let mut output = Output::new(global);
    for job in &found {
        match output.is_json() {
            true => output.line(&json!(job).to_string())?,
            false => output.line(&line(job))?,
        }
    }
    Ok(output.finish()?)
}

/// A job in a line.
fn line(job: &GraphJob) -> String {
    let indent = "  ".repeat(job.depth);
    let after = match job.after.is_empty() {
        true => String::new(),
        false => format!(", after {}", job.after.join(", ")),
    };
    format!("{indent}{}: {}{after}", job.name, job.state)
}

/// The jobs as boxes, a column for each depth, with a line from each job to those that come after it.
fn svg(all: &[GraphJob]) -> String {
    let columns = all.iter().map(|job| job.depth + 1).max().unwrap_or(0);
    let mut rows = vec![0_usize; columns];
    let mut places = Vec::with_capacity(all.len());
    for job in all {
        let x = MARGIN + job.depth * (BOX.0 + GAP.0);
        let y = MARGIN + rows[job.depth] * (BOX.1 + GAP.1);
        rows[job.depth] += 1;
        places.push((x, y));
    }
    let most = rows.iter().max().copied().unwrap_or(0);
    let width = 2 * MARGIN + (columns * (BOX.0 + GAP.0)).saturating_sub(GAP.0);
    let height = 2 * MARGIN + (most * (BOX.1 + GAP.1)).saturating_sub(GAP.1);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>Jobs, each behind those that it comes after</title>\n"
    );
    for (job, place) in all.iter().zip(&places) {
        for before in &job.after {
            if let Some(at) = all.iter().position(|other| other.name == *before) {
                text.push_str(&edge(places[at], *place));
            }
        }
    }
    for (job, place) in all.iter().zip(&places) {
        text.push_str(&node(job, *place));
    }
    text.push_str("</svg>\n");
    text
}

/// The line from the end of a box to the beginning of another one.
fn edge(from: (usize, usize), to: (usize, usize)) -> String {
    let (from_x, from_y) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
    let (to_x, to_y) = (to.0, to.1 + BOX.1 / 2);
    let bend = GAP.0 / 2;
    format!(
        "<path d=\"M{from_x},{from_y} C{},{from_y} {},{to_y} {to_x},{to_y}\" fill=\"none\" stroke=\"#667788\"/>\n",
        from_x + bend,
        to_x.saturating_sub(bend)
    )
}

fn node(job: &GraphJob, (x, y): (usize, usize)) -> String {
    let fill = match job.state {
        "done" => "#cfe8cf",
        "running" => "#cfdff5",
        "failed" | "damaged" => "#f5cfcf",
        "cancelled" => "#e8e0cf",
        "absent" => "#ffffff",
        _ => "#eeeeee",
    };
    let dashes = match job.state {
        "absent" => " stroke-dasharray=\"4 3\"",
        _ => "",
    };
    // Names of jobs have no character that XML would take for markup.
    let mut shown: String = job.name.chars().take(NAME_LEN_MAX).collect();
    if shown.len() < job.name.len() {
        shown.push('…');
    }
    let (width, height, left) = (BOX.0, BOX.1, x + 10);
    let mut text = format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\" fill=\"{fill}\" \
         stroke=\"#667788\"{dashes}/>\n<text x=\"{left}\" y=\"{}\">{shown}</text>\n",
        y + 18
    );
    writeln!(
        text,
        "<text x=\"{left}\" y=\"{}\" fill=\"#445566\" font-size=\"11\">{}</text>",
        y + 35,
        job.state
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_box_for_each_job_and_a_line_for_each_input() {
        let job = |name: &str, state, after: &[&str], depth| GraphJob {
            name: name.to_owned(),
            state,
            after: after.iter().map(ToString::to_string).collect(),
            depth,
        };
        let all = [
            job("clean", "done", &[], 0),
            job("rates", "absent", &[], 0),
            job("report", "pending", &["clean", "rates"], 1),
        ];
        let drawn = svg(&all);
        let count = |what: &str| drawn.matches(what).count();
        assert_eq!((count("<rect"), count("<path")), (3, 2), "{drawn}");
        // Two rows in the first column, and one box in the second.
        assert!(drawn.contains("width=\"472\" height=\"138\""), "{drawn}");
        assert!(
            drawn.contains(">report<") && drawn.contains(">absent<"),
            "{drawn}"
        );
        assert_eq!(line(&all[2]), "  report: pending, after clean, rates");
        assert!(svg(&[]).contains("width=\"32\" height=\"32\""));
    }
}
