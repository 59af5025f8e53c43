//! Which chunks are fetched with one request.

/// A chunk to fetch, and where its frame is in the compressed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub number: usize,
    pub start: u64,
    pub end: u64,
}

/// Bytes between two frames that are fetched and thrown away: less than another request costs.
const GAP: u64 = 16 << 10;

/// Joins neighbours, so that each run is one request. A run's frames follow each other, gaps aside.
pub(super) fn runs(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut runs: Vec<Vec<Piece>> = Vec::new();
    for piece in pieces {
        match runs.last_mut() {
            Some(run) if follows(run, piece) => run.push(piece),
            _ => runs.push(vec![piece]),
        }
    }
    runs
}

fn follows(run: &[Piece], piece: Piece) -> bool {
    let last = run.last();
    last.is_some_and(|last| piece.start >= last.end && piece.start - last.end <= GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_others_do_not() {
        let piece = |number, start, end| Piece { number, start, end };
        let pieces = vec![
            piece(0, 0, 100),
            piece(1, 100, 200),
            piece(2, 230, 300),
            piece(7, 300 + GAP + 1, 20_000),
            piece(8, 100, 200),
        ];
        let numbers: Vec<Vec<usize>> = runs(pieces)
            .iter()
            .map(|run| run.iter().map(|piece| piece.number).collect())
            .collect();
        assert_eq!(numbers, [vec![0, 1, 2], vec![7], vec![8]]);
    }
}
