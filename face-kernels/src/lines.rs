//! Rows of a picture as kernels of one channel look at them.

use super::Geometry;

/// Whether these kernels do this.
pub(super) fn fit(geometry: &Geometry) -> bool {
    geometry.dilation == [1, 1] && (1..=2).contains(&geometry.stride[1]) && geometry.padding[1] < geometry.kernel[1]
}

/// Rows of the input with their borders, split where every second column is skipped, so that what lies under each column of the
/// kernel is contiguous. The last rows are kept: neighbouring rows of the output share them.
pub(super) struct Lines {
    /// For each row that is kept, and each column modulo the stride, the values.
    values: Vec<f32>,
    /// Which row of the input each one is.
    rows: Vec<Option<usize>>,
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
        Self {
            values: vec![border; kernel[0] * stride * length],
            rows: vec![None; kernel[0]],
            outside: vec![border; length],
            border,
            length,
            stride,
            height: geometry.input[1],
            columns: geometry.input[2],
            padding: geometry.padding,
        }
    }

    /// Another channel follows.
    pub(super) fn forget(&mut self) {
        self.rows.fill(None);
    }

    /// Fetches the rows under a kernel that begins there, counted from the border above the picture.
    #[inline(always)]
    pub(super) fn prepare(&mut self, top: usize, plane: &[f32]) {
        for row in top..top + self.rows.len() {
            if let Some(row) = row.checked_sub(self.padding[0]).filter(|row| *row < self.height) {
                self.fetch(row, plane);
            }
        }
    }

    #[inline(always)]
    fn fetch(&mut self, row: usize, plane: &[f32]) {
        let slot = row % self.rows.len();
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

    /// What lies under one column of the kernel, for all columns of the output; the row is counted from the border above.
    #[inline(always)]
    pub(super) fn under(&self, row: usize, column: usize) -> &[f32] {
        let Some(row) = row.checked_sub(self.padding[0]).filter(|row| *row < self.height) else {
            return &self.outside[column / self.stride..];
        };
        let slot = row % self.rows.len();
        let start = (slot * self.stride + column % self.stride) * self.length;
        &self.values[start + column / self.stride..start + self.length]
    }
}
