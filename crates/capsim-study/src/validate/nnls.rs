//! Non-negative least squares (C. L. Lawson and R. J. Hanson, Solving Least Squares Problems, 1974, ch. 23).
use nalgebra::{DMatrix, DVector};

/// The x ≥ 0 that minimises ‖A x − b‖². `A` has at least as many rows as it has independent columns.
///
/// Active-set method; ends because the objective falls strictly with every change of the set, and after
/// 10 · columns rounds at the latest.
pub fn solve(a: &DMatrix<f64>, b: &DVector<f64>) -> DVector<f64> {
    let n = a.ncols();
    let mut x = DVector::zeros(n);
    let mut free = vec![false; n];
    let scale = a.amax().max(1e-300) * b.amax().max(1e-300);
    for _ in 0..10 * n.max(1) {
        let gradient = a.transpose() * (b - a * &x);
        let Some(enter) = (0..n)
            .filter(|&j| !free[j] && gradient[j] > 1e-12 * scale)
            .max_by(|&i, &j| gradient[i].total_cmp(&gradient[j]))
        else {
            break;
        };
        free[enter] = true;
        loop {
            let columns: Vec<usize> = (0..n).filter(|&j| free[j]).collect();
            if columns.is_empty() {
                break;
            }
            let sub = a.select_columns(&columns);
            let z = sub
                .svd(true, true)
                .solve(b, 1e-14)
                .expect("both factors were computed");
            if z.iter().all(|v| *v > 0.0) {
                x.fill(0.0);
                for (k, &j) in columns.iter().enumerate() {
                    x[j] = z[k];
                }
                break;
            }
            // Go towards z until the first variable reaches zero, and fix it there.
            let step = columns
                .iter()
                .enumerate()
                .filter(|&(k, _)| z[k] <= 0.0)
                .map(|(k, &j)| x[j] / (x[j] - z[k]))
                .fold(1.0, f64::min);
            for (k, &j) in columns.iter().enumerate() {
                x[j] += step * (z[k] - x[j]);
                if x[j] <= 1e-15 {
                    x[j] = 0.0;
                    free[j] = false;
                }
            }
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interior_solution_is_ordinary_least_squares() {
        let a = DMatrix::from_row_slice(3, 2, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let x = solve(&a, &DVector::from_vec(vec![1.0, 2.0, 3.0]));
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn at_the_boundary_the_gradient_points_outward() {
        let a = DMatrix::from_row_slice(3, 3, &[2.0, 1.0, 0.3, 0.5, 3.0, 1.0, 1.0, 0.2, 2.0]);
        let b = DVector::from_vec(vec![-1.0, 2.0, 0.7]);
        let x = solve(&a, &b);
        let gradient = a.transpose() * (&b - &a * &x);
        for j in 0..3 {
            assert!(x[j] >= 0.0);
            if x[j] > 0.0 {
                assert!(gradient[j].abs() < 1e-9, "stationary in free variables");
            } else {
                assert!(gradient[j] <= 1e-9, "no descent into the domain");
            }
        }
        assert!(x.iter().any(|v| *v == 0.0), "the case is a boundary case");
    }
}
