//! The live table of `arom profile watch`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event as Key, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::{cells, figures, name, said};
use crate::grpc::v1::watch_profiles_response::Event;
use crate::grpc::v1::{FeatureWindow, Profile, WatchProfilesResponse};

/// Signals that are shown.
const SIGNALS: usize = 5;

/// What is shown.
#[derive(Debug, Default)]
struct Board {
    profiles: BTreeMap<String, Profile>,
    signals: VecDeque<String>,
    note: String,
}

/// A terminal that shows it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Live {
    terminal: DefaultTerminal,
    board: Board,
}

impl Live {
    pub(super) fn open() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot take over the terminal; use --json")?;
        Ok(Self { terminal, board: Board::default() })
    }

    pub(super) fn take(&mut self, message: WatchProfilesResponse) {
        self.board.take(message);
    }

    /// Shows a note; whether the person wants to end.
    pub(super) fn say(&mut self, note: &str) -> Result<bool> {
        self.board.note = note.to_owned();
        self.draw()
    }

    /// Draws; whether the person wants to end.
    pub(super) fn draw(&mut self) -> Result<bool> {
        let board = &self.board;
        self.terminal.draw(|frame| board.draw(frame)).context("cannot draw")?;
        while event::poll(Duration::ZERO).context("cannot read keys")? {
            if let Key::Key(key) = event::read().context("cannot read keys")? {
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Board {
    fn take(&mut self, message: WatchProfilesResponse) {
        match message.event {
            Some(Event::SnapshotBegin(_)) => self.profiles.clear(),
            Some(Event::Profile(profile)) => drop(self.profiles.insert(name(profile.key.as_ref()), profile)),
            Some(Event::Gone(gone)) => {
                let key = name(gone.key.as_ref());
                self.profiles
                    .retain(|name, _| *name != key && !(gone.erased && name.starts_with(&format!("{key}/"))));
            }
            Some(Event::Signal(signal)) => {
                self.signals.push_front(said(&signal));
                self.signals.truncate(SIGNALS);
            }
            Some(Event::SnapshotEnd(_) | Event::Heartbeat(_)) | None => {}
        }
        self.note.clear();
    }

    /// The largest negative share of the last hour first.
    fn sorted(&self) -> Vec<&Profile> {
        let share = |profile: &Profile| figures(profile, FeatureWindow::Hour).1.unwrap_or(-1.0);
        let mut profiles: Vec<&Profile> = self.profiles.values().collect();
        profiles.sort_by(|left, right| share(right).total_cmp(&share(left)));
        profiles
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let height = u16::try_from(self.signals.len().max(1)).unwrap_or(1);
        let [table, signals, foot] =
            Layout::vertical([Constraint::Min(3), Constraint::Length(height), Constraint::Length(1)])
                .areas(frame.area());
        let names = ["key", "1 h", "neg", "24 h", "neg", "mean", "trend", "run", "raised"];
        let rows = self.sorted().into_iter().map(|profile| {
            let share = figures(profile, FeatureWindow::Hour).1.unwrap_or(0.0);
            let style = if profile.raised.is_empty() {
                Style::new().fg(if share >= 0.5 { Color::Yellow } else { Color::Reset })
            } else {
                Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
            };
            Row::new(cells(profile)).style(style)
        });
        let widths = [28, 7, 5, 8, 5, 6, 6, 4, 16].map(Constraint::Length);
        let head = Row::new(names).style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Table::new(rows, widths).header(head), table);
        let lines: Vec<Line<'_>> = self.signals.iter().map(|signal| Line::from(signal.as_str())).collect();
        frame.render_widget(Paragraph::new(lines).style(Style::new().fg(Color::Red)), signals);
        let note = if self.note.is_empty() { "q ends" } else { self.note.as_str() };
        let foot_text =
            format!("{} keys, by their negative share of the last hour. {note}", self.profiles.len());
        frame.render_widget(Paragraph::new(foot_text).style(Style::new().add_modifier(Modifier::DIM)), foot);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::grpc::v1::{
        FeatureCount, ProfileGone, ProfileKey, RaisedSignal, SignalKind, SnapshotBegin, WindowFeatures,
    };

    fn said_of(brand: &str, negative: i64) -> WatchProfilesResponse {
        let counts = FeatureCount { total: 10, negative, ..FeatureCount::default() };
        let window = WindowFeatures {
            window: FeatureWindow::Hour.into(),
            counts: Some(counts),
            ..WindowFeatures::default()
        };
        let raised = RaisedSignal { kind: SignalKind::NegativeShare.into(), raise_time: None };
        let profile = Profile {
            key: Some(ProfileKey { brand_id: brand.to_owned(), ..ProfileKey::default() }),
            windows: vec![window],
            raised: if negative > 5 { vec![raised] } else { Vec::new() },
            ..Profile::default()
        };
        message(Event::Profile(profile))
    }

    fn message(event: Event) -> WatchProfilesResponse {
        WatchProfilesResponse { event: Some(event), ..WatchProfilesResponse::default() }
    }

    fn screen(board: &Board) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 8)).expect("a terminal");
        terminal.draw(|frame| board.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_worst_is_on_top_and_who_is_gone_is_gone() {
        let mut board = Board::default();
        for (brand, negative) in [("calm", 1), ("storm", 8), ("wind", 4)] {
            board.take(said_of(brand, negative));
        }
        let shown = screen(&board);
        let at = |name: &str| shown.find(name).unwrap_or_else(|| panic!("{name} in {shown}"));
        assert!(at("storm") < at("wind") && at("wind") < at("calm"), "{shown}");
        assert!(shown.contains("80%") && shown.contains("negative share"), "{shown}");
        let key = Some(ProfileKey { brand_id: "storm".to_owned(), ..ProfileKey::default() });
        board.take(message(Event::Gone(ProfileGone { key, erased: false })));
        assert!(!screen(&board).contains("storm"));
        board.take(message(Event::SnapshotBegin(SnapshotBegin::default())));
        assert!(screen(&board).contains("0 keys"));
    }
}
