//! The checker is itself checked: a deliberate mistake in the delivery code is found by one of the first seeds.
