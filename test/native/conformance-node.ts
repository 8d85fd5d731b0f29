import { linux } from "../../userspace/linux.ts";
import { main } from "./conformance-program.ts";

main(linux, process.argv.slice(2), (line) => console.log(line));
