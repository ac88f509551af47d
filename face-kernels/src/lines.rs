//! Rows of a picture as kernels of one channel look at them.

use super::Geometry;

/// Whether these kernels do this.
pub(super) fn fit(geometry: &Geometry) -> bool {
    geometry.dilation == [1, 1] && (1..=2).contains(&geometry.stride[1]) && geometry.padding[1] < geometry.kernel[1]
}

/// Values of a plane that is kept as a whole: most of a first-level cache.
pub(super) const SMALL: usize = 5120;

/// Rows of the input with their borders, split where every second column is skipped, so that what lies under each column of the
/// kernel is contiguous. Of a small plane all rows are kept, of a larger one the last ones: neighbouring rows of the output share them.
pub(super) struct Lines {
    /// For each row that is kept, and each column modulo the stride, the values.
    values: Vec<f32>,
    /// Which row of the input each one is.
    rows: Vec<Option<usize>>,
    /// All rows are there.
    is_whole: bool,
    /// Rows of the kernel.
    reach: usize,
    /// What lies above and below the picture.
    outside: Vec<f32>,
    border: f32,
    length: usize,
    stride: usize,
    height: usize,
    columns: usize,
    padding: [usize; 2],
}

impl Lines {
    /// For vectors of so many values, with that value around the picture.
    pub(super) fn new(geometry: &Geometry, width: usize, border: f32) -> Self {
        let (kernel, stride) = (geometry.kernel, geometry.stride[1]);
        let length = geometry.output[2].next_multiple_of(width) + kernel[1];
        let [_, height, columns] = geometry.input;
        let kept = if height * columns <= SMALL { height } else { kernel[0] };
        Self {
            values: vec![border; kept * stride * length],
            rows: vec![None; kept],
            is_whole: kept == height,
            reach: kernel[0],
            outside: vec![border; stride * length],
            border,
            length,
            stride,
            height: geometry.input[1],
            columns: geometry.input[2],
            padding: geometry.padding,
        }
    }

    /// Another channel follows.
    #[inline(always)]
    pub(super) fn begin(&mut self, plane: &[f32]) {
        self.rows.fill(None);
        if self.is_whole {
            for row in 0..self.height {
                self.fetch(row, plane);
            }
        }
    }

    /// Fetches the rows under a kernel that begins there, counted from the border above the picture.
    #[inline(always)]
    pub(super) fn prepare(&mut self, top: usize, plane: &[f32]) {
        if self.is_whole {
            return;
        }
        for row in top..top + self.reach {
            if let Some(row) = row.checked_sub(self.padding[0]).filter(|row| *row < self.height) {
                self.fetch(row, plane);
            }
        }
    }

    #[inline(always)]
    fn fetch(&mut self, row: usize, plane: &[f32]) {
        let slot = self.slot(row);
        if self.rows[slot] == Some(row) {
            return;
        }
        self.rows[slot] = Some(row);
        let line = &plane[row * self.columns..][..self.columns];
        let size = self.stride * self.length;
        let values = &mut self.values[slot * size..][..size];
        let left = self.padding[1];
        // Borders keep their value: they are never written to.
        if self.stride == 1 {
            let end = (left + line.len()).min(values.len());
            values[left..end].copy_from_slice(&line[..end - left]);
            return;
        }
        let (even, odd) = values.split_at_mut(self.length);
        // Column x of the picture is value (x + left) / 2 of the half that it belongs to.
        let (first, line) = line.split_at(left % 2);
        let start = left.div_ceil(2);
        if let [first] = first {
            odd[start - 1] = *first;
        }
        let pairs = line.chunks(2).zip(even[start..].iter_mut().zip(&mut odd[start..]));
        for (pair, (even, odd)) in pairs {
            *even = pair[0];
            *odd = pair.get(1).copied().unwrap_or(self.border);
        }
    }

    #[inline(always)]
    fn slot(&self, row: usize) -> usize {
        if self.is_whole { row } else { row % self.rows.len() }
    }

    /// A row, counted from the border above, of which [`column`](Self::column) says where what lies under a column of the kernel begins.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let Some(row) = row.checked_sub(self.padding[0]).filter(|row| *row < self.height) else {
            return &self.outside;
        };
        let size = self.stride * self.length;
        &self.values[self.slot(row) * size..][..size]
    }

    /// Where in a row the values for all columns of the output begin.
    #[inline(always)]
    pub(super) fn column(&self, column: usize) -> usize {
        column % self.stride * self.length + column / self.stride
    }
}
