// The one include of PKCS#11's C declarations (p11-kit's header, version 2.40) plus the 3.0 names that we use.
// Nothing above mechanisms/ includes this.
#pragma once

#include <p11-kit/pkcs11.h>

#include "slots/pkcs11_v3.h"
