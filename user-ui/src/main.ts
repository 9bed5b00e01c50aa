import { showTheme } from "./theme";
import "./views/app-view";

showTheme();
