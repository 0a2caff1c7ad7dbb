// Owns the precompiled headers of the tests: GoogleTest's are most of what their compilation costs.
int main() { return 0; }
