"""The Lotus server of 2024-02."""
