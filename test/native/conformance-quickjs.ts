import { runtime } from "../../initrd/host.ts";
import { linux } from "../../initrd/linux.ts";
import { main } from "./conformance-program.ts";

main(linux, runtime.args, (line) => runtime.stdout(`${line}\n`));
