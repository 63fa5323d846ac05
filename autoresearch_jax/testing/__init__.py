"""Contract batteries for extension points, for third parties' tests too. Needs `[test]`."""
