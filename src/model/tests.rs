use super::*;
use crate::text::Script;

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

fn seen(label: Label, confidence: f32, tokens: usize, unknown_tokens: usize) -> Observation {
    Observation { label, confidence, tokens, unknown_tokens, script: Script::Thai }
}

#[test]
fn the_ends_of_bins_belong_to_them() {
    let mut counted = Distributions::default();
    for (confidence, tokens, unknown) in [(0.4, 5, 0), (0.41, 6, 1), (0.95, 160, 3), (0.96, 161, 17)] {
        counted.count(&seen(Label::Question, confidence, tokens, unknown));
    }
    assert_eq!(counted.labels, [0, 0, 0, 4]);
    assert_eq!(counted.confidence, [1, 1, 0, 0, 0, 0, 1, 1]);
    assert_eq!(counted.length, [1, 1, 0, 0, 0, 1, 1]);
    assert_eq!(counted.unknown_tokens, [1, 1, 0, 2]);
    assert_eq!((counted.texts(), counted.verify()), (4, Ok(())));
    counted.script = [3, 0, 0];
    assert!(counted.verify().expect_err("another sum").contains("4 texts by label, but 3"));
}

#[test]
fn the_stability_index_is_that_of_its_formula() {
    let of = |positive: usize, negative: usize| {
        let mut counted = Distributions::default();
        (0..positive).for_each(|_| counted.count(&seen(Label::Positive, 0.9, 10, 0)));
        (0..negative).for_each(|_| counted.count(&seen(Label::Negative, 0.9, 10, 0)));
        counted
    };
    let drift = of(500, 500).drift(&of(800, 200));
    // With half a text in each of four bins: shares 500.5, 0.5, 500.5, 0.5 of 1002 and 800.5, 0.5, 200.5, 0.5 of 1002.
    assert!((drift.labels - 0.414_498).abs() < 1e-5, "{}", drift.labels);
    assert!(drift.length.abs() < 1e-9 && drift.script.abs() < 1e-9);
    assert_eq!(of(500, 500).drift(&of(500, 500)).figures().map(|(_, index)| index), [0.0; 5]);
    assert!(of(1, 0).drift(&of(0, 9000)).labels.is_finite());
}
