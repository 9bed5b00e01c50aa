import "./views/app-view";
