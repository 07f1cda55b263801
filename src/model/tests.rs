use super::*;

fn close(found: Probabilities, expected: [f32; 4]) {
    for (found, expected) in found.0.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn calibration_is_softmax_of_scaled_and_shifted_logits() {
    let plain = Calibration { scale: [1.0; 4], bias: [0.0; 4] };
    // scipy.special.softmax([1, 2, 3, 4])
    close(
        plain.apply([1.0, 2.0, 3.0, 4.0], Label::ALL),
        [0.032_058_6, 0.087_144_32, 0.236_882_82, 0.643_914_2],
    );
    // scipy.special.softmax([0.5 * 1 + 0, 2 * 2 - 1, 1 * 3 + 0, 1 * 4 + 0.25])
    let fitted = Calibration { scale: [0.5, 2.0, 1.0, 1.0], bias: [0.0, -1.0, 0.0, 0.25] };
    close(fitted.apply([1.0, 2.0, 3.0, 4.0], Label::ALL), [0.014_730_56, 0.179_455, 0.179_455, 0.626_359_4]);
}

#[test]
fn probabilities_stand_in_one_order_whatever_the_models() {
    use Label::{Negative, Neutral, Positive, Question};
    let plain = Calibration { scale: [1.0; 4], bias: [0.0; 4] };
    let turned = plain.apply([4.0, 3.0, 2.0, 1.0], [Question, Negative, Neutral, Positive]);
    close(turned, [0.032_058_6, 0.087_144_32, 0.236_882_82, 0.643_914_2]);
    assert_eq!(turned.label(), Question);
}

#[test]
fn extreme_logits_stay_probabilities() {
    let plain = Calibration { scale: [1.0; 4], bias: [0.0; 4] };
    close(plain.apply([1e30, -1e30, 0.0, 0.0], Label::ALL), [1.0, 0.0, 0.0, 0.0]);
    close(plain.apply([-1e30; 4], Label::ALL), [0.25; 4]);
}

#[test]
fn calibrations_that_cannot_be_are_refused() {
    for (scale, bias) in [(0.0, 0.0), (-1.0, 0.0), (f64::NAN, 0.0), (1.0, f64::INFINITY)] {
        assert!(Calibration { scale: [scale; 4], bias: [bias; 4] }.verify().is_err());
    }
}
