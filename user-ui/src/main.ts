import { again } from "./api/again";
import { showTheme } from "./theme";
import "./views/app-view";

showTheme();
// After the chat has what it needs.
addEventListener("load", () => {
  again(async () => (await import("./notifications/push")).startWorker()).catch(
    () => undefined, // the page works without
  );
});
