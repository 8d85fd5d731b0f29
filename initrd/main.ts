/** composefs-setup-root: the program of the initramfs. */
import { runtime } from "./host.ts";
import { linux } from "./linux.ts";
import { run } from "./program.ts";

runtime.exit(run(linux, runtime.args, runtime));
