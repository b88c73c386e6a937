//! `top`: the swarm as it works, until somebody has seen enough.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Global, Top};
use crate::failure::Failure;
use crate::logs;
use crate::look::{Look, Looker};
use crate::output::Output;
use crate::pace::Paces;
use crate::scene;
use crate::signals::Signals;

/// Time between two views where nothing is said: for a terminal and for programs...
const VIEWS_APART: Duration = Duration::from_secs(1);
/// ...and for whatever else is written to.
const TABLES_APART: Duration = Duration::from_secs(2);
/// A look that takes long is not repeated before so many times its length.
const REST: u32 = 4;
/// Looks in a row that may fail, after one that did not, before it is given up.
const MISSES_MAX: u32 = 10;
/// Lines and columns of a terminal that does not say.
const TERMINAL: (usize, usize) = (24, 80);

/// Shows the swarm until a signal comes, which is no failure.
///
/// # Errors
/// As `job ls`, where the first look fails or ten in a row do.
pub(super) async fn top(global: &Global, args: &Top) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        shown = show(global, args) => shown,
        _ = signals.next() => Ok(()),
    }
}

async fn show(global: &Global, args: &Top) -> Result<(), Failure> {
    let mut looker = Looker::new(global, &args.peers)?;
    let mut shown = Shown::new(global, args.once);
    let interval = args.interval.unwrap_or(shown.views_apart());
    let (mut paces, mut looks, mut misses) = (Paces::default(), 0_u64, 0);
    loop {
        let began = Instant::now();
        match looker.look(global).await {
            Ok(look) => {
                (looks, misses) = (looks + 1, 0);
                paces.look(&look.open, Instant::now());
                // Speeds take two looks.
                let is_last = args.once && (looks > 1 || look.open.is_empty());
                if is_last || !args.once {
                    shown.show(&look, &paces)?;
                }
                if is_last {
                    return Ok(());
                }
            }
            Err(error) if looks > 0 && misses < MISSES_MAX => {
                misses += 1;
                tracing::warn!("{error}");
            }
            Err(error) => return Err(error),
        }
        let pause = interval.max(began.elapsed() * REST);
        tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
    }
}

/// What is shown, and where.
enum Shown<'g> {
    Json(&'g Global),
    Screen(Screen<'g>),
    /// Tables with an empty line between them; how many there were.
    Tables(&'g Global, u64),
}

impl<'g> Shown<'g> {
    fn new(global: &'g Global, once: bool) -> Shown<'g> {
        if global.json {
            return Shown::Json(global);
        }
        let screen = (!once && io::stdout().is_terminal()).then(|| Screen::new(global));
        match screen.filter(|screen| !screen.bar.is_hidden()) {
            Some(screen) => Shown::Screen(screen),
            None => Shown::Tables(global, 0),
        }
    }

    fn views_apart(&self) -> Duration {
        match self {
            Shown::Json(_) | Shown::Screen(_) => VIEWS_APART,
            Shown::Tables(..) => TABLES_APART,
        }
    }

    fn show(&mut self, look: &Look, paces: &Paces) -> Result<(), Failure> {
        match self {
            Shown::Json(global) => {
                Output::tell(global, &scene::json(look, paces).to_string())?;
            }
            Shown::Screen(screen) => screen.show(look, paces),
            Shown::Tables(global, count) => {
                let mut output = Output::new(global);
                if *count > 0 {
                    output.line("")?;
                }
                *count += 1;
                let width = match output.is_terminal() {
                    true => terminal().1,
                    false => usize::MAX,
                };
                for line in scene::text(look, paces, width) {
                    let text = match line.is_heading {
                        true => output.heading(&line.text),
                        false => line.text,
                    };
                    output.line(&text)?;
                }
                output.finish()?;
            }
        }
        Ok(())
    }
}

/// A terminal, on which each view takes the place of the one before. The last one stays.
struct Screen<'g> {
    global: &'g Global,
    /// Draws its message over what it has drawn before, and log lines above.
    bar: ProgressBar,
    last: String,
}

impl<'g> Screen<'g> {
    fn new(global: &'g Global) -> Screen<'g> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        logs::keep_above(&bar);
        Screen {
            global,
            bar,
            last: String::new(),
        }
    }

    fn show(&mut self, look: &Look, paces: &Paces) {
        let (height, width) = terminal();
        let mut lines = scene::text(look, paces, width);
        // One line is left for the cursor, and one says what is missing.
        let fit = height.saturating_sub(2).max(1);
        let hidden = lines.len().saturating_sub(fit);
        lines.truncate(fit);
        let output = Output::new(self.global);
        let told = |line: scene::Line| match line.is_heading {
            true => output.heading(&line.text),
            false => line.text,
        };
        let mut told: Vec<String> = lines.into_iter().map(told).collect();
        if hidden > 0 {
            told.push(format!("… {hidden} more"));
        }
        self.last = told.join("\n");
        self.bar.set_message(self.last.clone());
        self.bar.tick();
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if !self.last.is_empty() {
            // Whether or not anybody still sees it.
            Output::tell(self.global, &self.last).ok();
        }
    }
}

/// Lines and columns of the terminal.
fn terminal() -> (usize, usize) {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_row > 0
        && size.ws_col > 0
    {
        return (usize::from(size.ws_row), usize::from(size.ws_col));
    }
    TERMINAL
}
