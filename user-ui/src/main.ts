import { showTheme } from "./theme";
import "./views/app-view";

showTheme();
// After the chat has what it needs.
addEventListener("load", () => {
  void import("./notifications/push").then(({ startWorker }) => startWorker());
});
