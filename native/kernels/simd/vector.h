// The widest integer vectors of the instruction set that the including file is compiled for.
#pragma once

#include "../x86/vector.h"
