//! A disk that fills up costs a message and nothing else.
