// Register-blocked products for the instruction set that the including file is compiled for.
#pragma once

#include "../x86/tile.h"
