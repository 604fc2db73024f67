//! Tables for people: aligned columns under a heading, wide characters not counted.

/// Renders rows under a heading. Cells may be of any length; the last column is not padded.
#[must_use]
pub fn render(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.chars().count())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}\n", padded.join("  ")).replace(" \n", "\n").trim_end().to_owned() + "\n"
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut table = line(heading.to_vec());
    table += &line(rule.iter().map(String::as_str).collect());
    for row in rows {
        table += &line(row.iter().map(String::as_str).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let table = render(&["a", "bb"], &[vec!["é1".into(), "x".into()], vec!["1".into(), "yyy".into()]]);
        assert_eq!(table, "  a   bb\n  ──  ───\n  é1  x\n  1   yyy\n");
    }
}
