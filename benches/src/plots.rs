//! Plots of what the page with figures says, as SVG in a folder beside it. They are drawn from the page's tables, so that
//! the same page gives the same files, whichever command wrote which table.
//!
//! Their colours follow the reader's choice of a light or a dark page, and each has a background of its own, for pages
//! that do not tell. Text stays text.

use crate::{Res, page};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fs;
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

const BACKGROUND: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const LINE: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
/// What becomes of these three on a dark page.
const DARK: [(RGBColor, &str); 3] = [(BACKGROUND, "#0d1117"), (INK, "#e6edf3"), (LINE, "#3d444d")];

/// Colours that people who see fewer of them tell apart, too, and that are seen on light and on dark.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x8c, 0x8c, 0x8c),
];

const WIDTH: u32 = 860;
const BAR: u32 = 13;
const FONT: &str = "sans-serif";

/// What each section's plots are called, and what they show.
const SYNC_TIME: (&str, &str) = ("sync-time.svg", "How long each sync takes, shorter is better");
const SYNC_BYTES: (&str, &str) = ("sync-bytes.svg", "Bytes on the wire in both directions, shorter is better");
const SCALE: (&str, &str) = ("scale.svg", "What a sync takes by the number of timelines that are in step");

/// The plots of a page's comparison of syncs, as the page shows them.
pub(crate) fn of_compare(page: &Path) -> String {
    format!("{}\n{}", link(page, SYNC_TIME), link(page, SYNC_BYTES))
}

/// The plot of its section about scale.
pub(crate) fn of_scale(page: &Path) -> String {
    link(page, SCALE)
}

fn link(page: &Path, (file, title): (&str, &str)) -> String {
    let folder = page.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    format!("![{title}]({folder}/{file})")
}

/// Draws the plots of a page anew.
pub(crate) fn draw(page: &Path) -> Res<()> {
    let text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let folder = page.with_extension("");
    let mut drawn = Vec::new();
    let syncs = rows(&text, crate::HEADING);
    if !syncs.is_empty() {
        drawn.push((SYNC_TIME.0, bars(SYNC_TIME.1, &figures(&syncs, 2), time)?));
        drawn.push((SYNC_BYTES.0, bars(SYNC_BYTES.1, &figures(&syncs, 5), bytes)?));
    }
    let scale = rows(&text, page::MANY_TIMELINES);
    if !scale.is_empty() {
        drawn.push((SCALE.0, curves(&scale)?));
    }
    if !drawn.is_empty() {
        fs::create_dir_all(&folder)?;
    }
    for (name, svg) in drawn {
        fs::write(folder.join(name), svg)?;
    }
    Ok(())
}

/// The rows of a section's widest table, without its head, each as its cells.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let start = format!("\n## {heading}\n");
    let Some((_, section)) = page.split_once(&start) else { return Vec::new() };
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
    };
    let all: Vec<Vec<String>> = section.lines().filter_map(cells).collect();
    let most = all.iter().map(Vec::len).max().unwrap_or_default();
    // A head has no figures.
    all.into_iter().filter(|row| row.len() == most && row.get(2).is_some_and(|cell| number(cell).is_some())).collect()
}

/// What a cell says: a number, or the sum of the two sides'.
fn number(cell: &str) -> Option<f64> {
    cell.split(" + ").map(|part| part.replace(',', "").parse::<f64>().ok()).sum()
}

/// A bar: its group, its series and how long it is.
type Figure = (String, String, f64);

fn figures(rows: &[Vec<String>], column: usize) -> Vec<Figure> {
    let figure = |row: &Vec<String>| Some((row[0].clone(), row[1].clone(), number(row.get(column)?)?));
    rows.iter().filter_map(figure).filter(|(_, _, figure)| *figure > 0.0).collect()
}

fn time(seconds: f64) -> String {
    if seconds < 0.9995 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn bytes(kilobytes: f64) -> String {
    match kilobytes {
        ..9.95 => format!("{kilobytes:.1} kB"),
        ..999.5 => format!("{kilobytes:.0} kB"),
        _ => format!("{:.1} MB", kilobytes / 1e3),
    }
}

/// Different ones in the order in which they come.
fn different<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for one in all.filter(|one| !one.is_empty()) {
        if !out.contains(&one) {
            out.push(one);
        }
    }
    out
}

/// The powers of ten around these.
fn decades(all: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = all.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let most = all.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    (10_f64.powf(least), 10_f64.powf(most.max(least + 1.0)))
}

fn style<'a>(size: u32, horizontal: HPos) -> TextStyle<'a> {
    (FONT, size).into_font().color(&INK).pos(Pos::new(horizontal, VPos::Center))
}

/// A peer has the same colour in every plot, whoever else is in it.
fn colour(name: &str, nth: usize) -> RGBColor {
    let peer = crate::PEERS.iter().position(|peer| *peer == name);
    COLOURS[peer.unwrap_or(nth) % COLOURS.len()]
}

/// Horizontal bars on a scale of powers of ten, a group for each workload.
fn bars(title: &str, figures: &[Figure], say: fn(f64) -> String) -> Res<String> {
    let groups = different(figures.iter().map(|(group, ..)| group.as_str()));
    let series = different(figures.iter().map(|(_, series, _)| series.as_str()));
    let height = 90 + BAR * (figures.len() + groups.len()) as u32;
    svg(title, height, |area| {
        let (least, most) = decades(figures.iter().map(|(.., figure)| *figure));
        let mut left = 80;
        for (nth, name) in series.iter().enumerate() {
            let colour = colour(name, nth);
            area.draw(&Rectangle::new([(left, 40), (left + 11, 51)], colour.filled()))?;
            area.draw(&Text::new((*name).to_owned(), (left + 16, 46), style(13, HPos::Left)))?;
            left += 36 + 8 * name.len() as i32;
        }
        let total = (figures.len() + groups.len()) as f64;
        let (_, plot) = area.split_vertically(60);
        let mut chart = ChartBuilder::on(&plot)
            .margin_right(70)
            .set_label_area_size(LabelAreaPosition::Left, 80)
            .set_label_area_size(LabelAreaPosition::Bottom, 24)
            .build_cartesian_2d((least..most).log_scale(), total..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .bold_line_style(LINE)
            .light_line_style(TRANSPARENT)
            .axis_style(LINE)
            .x_label_style((FONT, 12).into_font().color(&INK))
            .x_label_formatter(&|figure| say(*figure))
            .draw()?;
        let mut at = 0.5;
        for group in groups {
            let of_group: Vec<&Figure> = figures.iter().filter(|(of, ..)| of == group).collect();
            let middle = chart.backend_coord(&(least, at + of_group.len() as f64 / 2.0));
            area.draw(&Text::new(group.to_owned(), (72, middle.1), style(13, HPos::Right)))?;
            for (_, name, figure) in of_group {
                let bar = Rectangle::new([(least, at + 0.08), (*figure, at + 0.92)], colour(name, 0).filled());
                chart.draw_series([bar])?;
                let end = chart.backend_coord(&(*figure, at + 0.5));
                area.draw(&Text::new(say(*figure), (end.0 + 4, end.1), style(11, HPos::Left)))?;
                at += 1.0;
            }
            at += 1.0;
        }
        Ok(())
    })
}

/// Two curves beside each other, of time and of bytes, by the number of timelines.
fn curves(rows: &[Vec<String>]) -> Res<String> {
    svg(SCALE.1, 400, |area| {
        let (_, below) = area.split_vertically(60);
        let panels = below.split_evenly((1, 2));
        let series = different(rows.iter().map(|row| row[1].as_str()));
        let mut left = 60;
        for (nth, name) in series.iter().enumerate() {
            let colour = colour(name, nth);
            area.draw(&Rectangle::new([(left, 40), (left + 11, 51)], colour.filled()))?;
            area.draw(&Text::new((*name).to_owned(), (left + 16, 46), style(13, HPos::Left)))?;
            left += 36 + 7 * name.len() as i32;
        }
        for (panel, column, say) in [(&panels[0], 2, time as fn(f64) -> String), (&panels[1], 5, bytes)] {
            let points: Vec<(&str, f64, f64)> = rows
                .iter()
                .filter_map(|row| Some((row[1].as_str(), number(&row[0])?, number(row.get(column)?)?)))
                .filter(|(_, timelines, figure)| *timelines > 0.0 && *figure > 0.0)
                .collect();
            if points.is_empty() {
                continue;
            }
            let across = decades(points.iter().map(|(_, timelines, _)| *timelines));
            let up = decades(points.iter().map(|(.., figure)| *figure));
            let mut chart = ChartBuilder::on(panel)
                .margin_right(30)
                .margin_top(12)
                .set_label_area_size(LabelAreaPosition::Left, 64)
                .set_label_area_size(LabelAreaPosition::Bottom, 28)
                .build_cartesian_2d((across.0..across.1).log_scale(), (up.0..up.1).log_scale())?;
            chart
                .configure_mesh()
                .bold_line_style(LINE)
                .light_line_style(TRANSPARENT)
                .axis_style(LINE)
                .label_style((FONT, 12).into_font().color(&INK))
                .x_label_formatter(&|timelines| format!("{timelines:.0}"))
                .y_label_formatter(&|figure| say(*figure))
                .draw()?;
            for (nth, name) in series.iter().enumerate() {
                let colour = colour(name, nth);
                let of_series = || points.iter().filter(|(of, ..)| of == name).map(|(_, x, y)| (*x, *y));
                chart.draw_series(LineSeries::new(of_series(), colour.stroke_width(2)))?;
                chart.draw_series(of_series().map(|point| Circle::new(point, 3, colour.filled())))?;
            }
        }
        Ok(())
    })
}

/// A picture with a title and a background.
fn svg(title: &str, height: u32, draw: impl FnOnce(&Area<'_>) -> Res<()>) -> Res<String> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        area.fill(&BACKGROUND)?;
        area.draw(&Text::new(title.to_owned(), (14, 18), style(16, HPos::Left)))?;
        draw(&area)?;
        area.present()?;
    }
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
    let rules: String = DARK
        .iter()
        .map(|(light, dark)| {
            let light = hex(*light);
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<title>{title}</title>\n<style>@media (prefers-color-scheme:dark){{{rules}}}</style>");
    let head = out.find("<svg").and_then(|at| Some(at + out[at..].find('>')? + 1)).ok_or("a picture without a head")?;
    out.insert_str(head, &format!("\n{style}"));
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Performance\n\n## A sync, beside others\n\n| | |\n|---|---|\n| W1 | the first one |\n\n\
        | | | wall s | CPU s | memory MB | sent, received kB | disk MB |\n|---|---|---|---|---|---|---|\n\
        | W1 | ibgib | 0.958 | 0.50 + 0.64 | 58 + 89 | 534.1 + 108.0 | 5.8 + 1.8 |\n\
        | W1 | git | 0.110 | 0.03 + 0.08 | 14 + 17 | 1960.2 + 0.2 | 2.4 + 2.5 |\n\n## Another\n\n| W1 | x | 1.0 | | | 3 | |\n";

    #[test]
    fn the_same_page_gives_the_same_pictures_of_text_and_bars() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.md");
        fs::write(&page, PAGE).unwrap();
        let read = || {
            draw(&page).unwrap();
            fs::read_to_string(dir.path().join("page/sync-bytes.svg")).unwrap()
        };
        let svg = read();
        assert_eq!(svg, read());
        for text in ["ibgib", "git", "W1", "642 kB", "2.0 MB"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} is no text of it: {svg}");
        }
        assert!(svg.len() < 10_000 && !dir.path().join("page/scale.svg").exists());
    }

    #[test]
    fn a_cell_is_a_number_or_two() {
        let all = ["0.958", "534.1 + 108.0", "1,000", "", "x", "1 + x"].map(number);
        assert_eq!(all, [Some(0.958), Some(642.1), Some(1_000.0), None, None, None]);
    }
}
