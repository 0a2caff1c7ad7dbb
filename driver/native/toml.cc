// The parts of toml++ that its headers leave to libtomlplusplus.so, as fmt.cc.
#define TOML_IMPLEMENTATION
#include <toml++/toml.h>
