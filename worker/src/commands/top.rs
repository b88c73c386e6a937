//! `top`: the swarm as it works, until somebody has seen enough.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Global, Top};
use crate::failure::Failure;
use crate::keyboard::Keyboard;
use crate::logs;
use crate::output::Output;
use crate::quiet::is_quiet;
use crate::render::{self, Order};
use crate::signals::Signals;
use crate::table::cut;
use crate::throughput::Throughputs;
use crate::view::{SwarmView, Viewer};

/// Time between two views where nothing is said: for a terminal and for programs...
const VIEWS_APART: Duration = Duration::from_secs(1);
/// ...and for whatever else is written to.
const TABLES_APART: Duration = Duration::from_secs(2);
/// A look that takes long is not repeated before so many times its length.
const REST: u32 = 4;
/// Looks in a row that may fail, after one that did not, before it is given up.
const MISSES_MAX: u32 = 10;
/// The keys of the screen.
const KEYS: &str = "q quit; sort by o order, n name, s state, l shards left, r rows/s, t time left";
/// Ctrl-D.
const END_OF_TEXT: u8 = 0x04;
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
    let mut viewer = Viewer::new(global, &args.peers)?;
    let mut shown = TopDisplay::new(global, args.once);
    let mut keyboard = match &shown {
        TopDisplay::Screen(_) => Keyboard::open(),
        TopDisplay::Json(_) | TopDisplay::Tables(..) => None,
    };
    shown.has_keys(keyboard.is_some());
    let interval = args.interval.unwrap_or(shown.views_apart());
    let (mut throughputs, mut looks, mut misses) = (Throughputs::default(), 0_u64, 0);
    loop {
        let began = Instant::now();
        match viewer.view(global).await {
            Ok(view) => {
                (looks, misses) = (looks + 1, 0);
                throughputs.sample(&view.open, Instant::now());
                // Speeds take two looks.
                let is_last = args.once && (looks > 1 || view.open.is_empty());
                if is_last || !args.once {
                    shown.show(&view, &throughputs)?;
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
        let until = began + interval.max(began.elapsed() * REST);
        while let Some(key) = pressed(keyboard.as_mut(), until).await {
            match key {
                b'q' | b'Q' | END_OF_TEXT => return Ok(()),
                // Anything else shows what is new.
                _ if shown.sort(key) => {}
                _ => break,
            }
        }
    }
}

/// The key that is pressed before that moment.
async fn pressed(keyboard: Option<&mut Keyboard>, until: Instant) -> Option<u8> {
    let pause = tokio::time::sleep_until(until.into());
    match keyboard {
        None => {
            pause.await;
            None
        }
        Some(keyboard) => tokio::select! {
            key = keyboard.next() => Some(key),
            () = pause => None,
        },
    }
}

/// What is shown, and where.
enum TopDisplay<'g> {
    Json(&'g Global),
    Screen(Screen<'g>),
    /// Tables with an empty line between them; how many there were.
    Tables(&'g Global, u64),
}

impl<'g> TopDisplay<'g> {
    fn new(global: &'g Global, once: bool) -> TopDisplay<'g> {
        if global.json {
            return TopDisplay::Json(global);
        }
        let screen = (!once && io::stdout().is_terminal()).then(|| Screen::new(global));
        match screen.filter(|screen| !screen.bar.is_hidden()) {
            Some(screen) => TopDisplay::Screen(screen),
            None => TopDisplay::Tables(global, 0),
        }
    }

    /// Whether keys can be pressed, which the screen then tells.
    fn has_keys(&mut self, has_keys: bool) {
        if let TopDisplay::Screen(screen) = self {
            screen.has_keys = has_keys && !is_quiet();
        }
    }

    /// Sorts as a key asks, and shows it at once; false for a key that asks for nothing.
    fn sort(&mut self, key: u8) -> bool {
        let (TopDisplay::Screen(screen), Some(order)) = (self, Order::of_key(key)) else {
            return false;
        };
        screen.order = order;
        screen.draw();
        true
    }

    fn views_apart(&self) -> Duration {
        match self {
            TopDisplay::Json(_) | TopDisplay::Screen(_) => VIEWS_APART,
            TopDisplay::Tables(..) => TABLES_APART,
        }
    }

    fn show(&mut self, view: &SwarmView, throughputs: &Throughputs) -> Result<(), Failure> {
        match self {
            TopDisplay::Json(global) => {
                Output::tell(global, &render::json(view, throughputs).to_string())?;
            }
            TopDisplay::Screen(screen) => {
                screen.seen = Some((view.clone(), throughputs.clone()));
                screen.draw();
            }
            TopDisplay::Tables(global, count) => {
                let mut output = Output::new(global);
                if *count > 0 {
                    output.line("")?;
                }
                *count += 1;
                let width = match output.is_terminal() {
                    true => terminal().1,
                    false => usize::MAX,
                };
                for line in render::text(view, throughputs, Order::default(), width) {
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
    order: Order,
    /// Whether keys can be pressed.
    has_keys: bool,
    /// What was seen last.
    seen: Option<(SwarmView, Throughputs)>,
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
            order: Order::default(),
            has_keys: false,
            seen: None,
        }
    }

    fn draw(&mut self) {
        let Some((view, throughputs)) = &self.seen else {
            return;
        };
        let (height, width) = terminal();
        let mut lines = render::text(view, throughputs, self.order, width);
        // One line is left for the cursor, one says what is missing, and one names the keys.
        let fit = height.saturating_sub(2 + usize::from(self.has_keys)).max(1);
        let hidden = lines.len().saturating_sub(fit);
        lines.truncate(fit);
        let output = Output::new(self.global);
        let told = |line: render::Line| match line.is_heading {
            true => output.heading(&line.text),
            false => line.text,
        };
        let mut told: Vec<String> = lines.into_iter().map(told).collect();
        if hidden > 0 {
            told.push(format!("… {hidden} more"));
        }
        self.last = told.join("\n");
        if self.has_keys {
            told.push(cut(KEYS, width));
        }
        self.bar.set_message(told.join("\n"));
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
